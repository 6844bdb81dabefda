"""Continuous batching in lockstep: one loop, one step at a time, every running request advances in each step."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from engines.simulator.acceptance import Luck
from engines.simulator.calibration import StepCost, StepWork
from engines.simulator.measurements import EngineCounts, Timeline, VerifyCounts
from engines.simulator.outputs import OutputPlan
from engines.simulator.pacing import Pace
from engines.simulator.settings import SimulatorSettings


@dataclass(slots=True, eq=False)
class Sequence:
    """One output being generated; `on_tokens(sequence, first, last)` hears of every step that gave it tokens."""

    plan: OutputPlan
    prompt_tokens: int
    k: int
    luck: Luck
    on_tokens: Callable[["Sequence", int, int], None]
    times: Timeline
    slowdown: float = 1.0
    produced: int = 0
    drafting: int = 0
    aborted: bool = False
    steps: VerifyCounts = field(default_factory=VerifyCounts)

    @property
    def finished(self) -> bool:
        """Whether the whole output is out."""
        return self.produced >= self.plan.tokens

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values the sequence holds."""
        return self.prompt_tokens + self.produced

    def propose(self) -> int:
        """Drafts of the step about to run: k, or 0 where the drafter has nothing to propose."""
        self.drafting = self.k if self.k and self.luck.proposes() else 0
        return self.drafting


class Batch:
    """The waiting queue, the running requests and the step loop over them."""

    def __init__(self, settings: SimulatorSettings, cost: StepCost, pace: Pace) -> None:
        self.settings = settings
        self.cost = cost
        self.pace = pace
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.counts = EngineCounts(accepted_per_position=[0] * settings.k_max)
        self._work = asyncio.Event()
        self._moving = asyncio.Event()
        self._moving.set()

    def stall(self) -> None:
        """Stop stepping, with whatever runs."""
        self._moving.clear()

    def resume(self) -> None:
        """Go on stepping."""
        self._moving.set()

    def submit(self, sequence: Sequence) -> None:
        """Queue the sequence; it runs as soon as a slot and its KV space are free."""
        self.waiting.append(sequence)
        self._work.set()

    def abort(self, sequence: Sequence) -> None:
        """Give up the sequence: its slot is free at the next step."""
        if not sequence.finished and not sequence.aborted:
            sequence.aborted = True
            self.counts.finished["abort"] += 1

    async def run(self) -> None:
        """Step for ever; sleeps while there is nothing to do."""
        while True:
            self._admit()
            if not self.running:
                self._work.clear()
                await self._work.wait()
                self.pace.resume()
                continue
            await self._moving.wait()
            fresh = [sequence for sequence in self.running if not sequence.produced]
            await self.pace.wait(self._step_s(fresh))
            self._advance(self.pace.now_s)

    @property
    def kv_usage(self) -> float:
        """Share of the KV space in use, 0-1."""
        return sum(sequence.kv_tokens for sequence in self.running) / self.settings.kv_capacity_tokens

    def _admit(self) -> None:
        """Fill free slots in order of arrival. KV space is reserved for the whole output: no preemption here."""
        self.running = [sequence for sequence in self.running if not sequence.aborted]
        free_kv = self.settings.kv_capacity_tokens - sum(s.prompt_tokens + s.plan.tokens for s in self.running)
        prefill = 0
        while self.waiting and len(self.running) < self.settings.max_num_seqs:
            head = self.waiting[0]
            if head.aborted:
                self.waiting.popleft()
                continue
            over_budget = prefill and prefill + head.prompt_tokens > self.settings.max_prefill_tokens
            if over_budget or head.prompt_tokens + head.plan.tokens > free_kv:
                return
            head.times.scheduled_s = self.pace.now_s
            head.times.queued_s = min(head.times.queued_s, self.pace.now_s)
            self.running.append(self.waiting.popleft())
            free_kv -= head.prompt_tokens + head.plan.tokens
            prefill += head.prompt_tokens

    def _step_s(self, fresh: list[Sequence]) -> float:
        decoding = [sequence for sequence in self.running if sequence.produced]
        ks = [sequence.propose() for sequence in decoding]
        work = StepWork(
            decoding=len(decoding),
            drafts=sum(ks),
            largest_k=max(ks, default=0),
            prefilling=len(fresh),
            prefill_tokens=sum(sequence.prompt_tokens for sequence in fresh),
            kv_tokens=sum(sequence.kv_tokens for sequence in decoding),
        )
        slowdown = max(sequence.slowdown for sequence in self.running)
        return self.cost.step_ms(work, speculative=self.settings.speculative) / 1000 * slowdown

    def _advance(self, now_s: float) -> None:
        """Hand every running request the tokens of the step that just ended: one after prefill, else 1 + accepted."""
        self.counts.steps += 1
        for sequence in self.running:
            if sequence.aborted:
                continue
            first = sequence.produced
            if first:
                gained = 1 + self._verify(sequence)
            else:
                gained, sequence.times.first_token_s = 1, now_s
                self.counts.prompt_tokens += sequence.prompt_tokens
            # vLLM drafts its full k however few tokens are left, counts the acceptance, then cuts the output.
            sequence.produced = min(first + gained, sequence.plan.tokens)
            self.counts.generation_tokens += sequence.produced - first
            sequence.times.last_token_s = now_s
            if sequence.finished:
                self.counts.finished[sequence.plan.finish_reason] += 1
            sequence.on_tokens(sequence, first, sequence.produced)
        self.running = [sequence for sequence in self.running if not sequence.finished]

    def _verify(self, sequence: Sequence) -> int:
        if not sequence.drafting:
            return 0
        accepted = sequence.luck.accepted(sequence.drafting)
        sequence.steps.drafted.append(sequence.drafting)
        sequence.steps.accepted.append(accepted)
        self.counts.observe_drafts(sequence.drafting, accepted)
        return accepted
