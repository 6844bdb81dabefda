"""The simulated engine itself: a batch, a drafter's behaviour, and what a request becomes in it."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from engines.contract import requested_k
from engines.simulator.acceptance import Luck, tilted_curves
from engines.simulator.batching import Batch, Sequence
from engines.simulator.calibration import Calibration, load_calibration
from engines.simulator.errors import bad_value, unknown_model
from engines.simulator.failures import Failure, FailureQueue
from engines.simulator.measurements import Timeline
from engines.simulator.outputs import Sampling, draws, plan_output
from engines.simulator.pacing import VirtualPace, WallPace
from engines.simulator.settings import SimulatorSettings
from engines.simulator.tasks import ReadTask, read_task

SIM_TASK = "sim_task"
"""Key inside `vllm_xargs` that names the task outright."""

RECENT = 256
"""Requests that /simulator/state remembers."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its text, its length, and the part the task is read from."""

    text: str
    tokens: int
    instructions: str


@dataclass(slots=True)
class RequestRecord:
    """One request as /simulator/state tells it."""

    id: str
    task: str
    k: int
    temperature: float
    prompt_tokens: int
    output_tokens: int = 0
    outcome: str = "running"


@dataclass(slots=True)
class Tally:
    """How requests ended: answered, given up by the client, hit by a failure on demand, or refused as wrong."""

    served: int = 0
    aborted: int = 0
    failed: int = 0
    rejected: int = 0
    recent: deque[RequestRecord] = field(default_factory=lambda: deque(maxlen=RECENT))

    def end(self, record: RequestRecord, outcome: Literal["served", "aborted", "failed"]) -> None:
        """One generation request is over."""
        record.outcome = outcome
        self.served += outcome == "served"
        self.aborted += outcome == "aborted"
        self.failed += outcome == "failed"


class SimulatedEngine:
    """Everything behind the HTTP surface; `start` and `stop` its step loop from inside an event loop."""

    def __init__(
        self,
        settings: SimulatorSettings,
        *,
        calibration: Calibration | None = None,
        task_reader: ReadTask = read_task,
        failures: tuple[Failure, ...] = (),
    ) -> None:
        self.settings = settings
        self.calibration = calibration or load_calibration(settings.calibration)
        scale = settings.time_scale
        pace = WallPace(scale) if scale else VirtualPace(settings.burst_steps)
        self.batch = Batch(settings, self.calibration.cost, pace)
        self.failures = FailureQueue(failures)
        self.tally = Tally()
        self.acceptance_scale: dict[str | None, float] = {}
        self._read_task = task_reader
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin stepping."""
        self._loop = asyncio.create_task(self.batch.run())

    async def stop(self) -> None:
        """Stop stepping; requests still running get nothing more."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    def k_of(self, xargs: Mapping[str, object] | None) -> int:
        """Drafts per step of a request: as it asks, none where nothing speculates."""
        return requested_k(xargs, self.settings.k_max) if self.settings.speculative else 0

    def task_of(self, prompt: Prompt, xargs: Mapping[str, object] | None) -> str:
        """The task the simulated model works on: named in `vllm_xargs`, else read from the prompt."""
        named = (xargs or {}).get(SIM_TASK)
        return named if isinstance(named, str) else self._read_task(prompt.instructions)

    def output_limit(self, prompt_tokens: int, asked: int | None) -> int:
        """Output tokens a request may have: what it asked for, cut to the context that its prompt leaves."""
        limit = self.settings.max_model_len
        if asked is not None and asked > limit:
            raise bad_value(
                f"max_tokens={asked} cannot be greater than max_model_len={limit}. Please request fewer output tokens.",
                "max_tokens",
                asked,
            )
        if prompt_tokens > limit:
            raise bad_value(
                f"This model's maximum context length is {limit} tokens. However, your prompt contains {prompt_tokens} "
                "input tokens, which exceeds this limit even without any output tokens. "
                "Please reduce the length of the input prompt.",
                "input_tokens",
                prompt_tokens,
            )
        return min(limit - prompt_tokens, limit if asked is None else asked)

    def sequence(
        self, prompt: Prompt, sampling: Sampling, *, task: str, k: int, on_tokens: Callable[[Sequence, int, int], None]
    ) -> Sequence:
        """A sequence ready to be submitted; what it will say and how drafting goes is decided here."""
        profile = self.calibration.profile(task)
        random = draws(self.settings.seed, prompt.text, sampling)
        scale = self.acceptance_scale.get(task, self.acceptance_scale.get(None, 1.0))
        curves = tilted_curves(profile, sampling.temperature, self.settings.k_max, scale)
        return Sequence(
            plan=plan_output(profile, sampling, random.output),
            prompt_tokens=prompt.tokens,
            k=k,
            luck=Luck(profile, curves, random.luck),
            on_tokens=on_tokens,
            times=Timeline(queued_s=self.batch.pace.clock_s()),
        )

    def check_model(self, asked: str | None) -> None:
        """Refuse a model this engine does not serve; none means the one it serves."""
        if asked and asked != self.settings.model and asked not in self.settings.loras:
            raise unknown_model(asked, self.settings.model)
