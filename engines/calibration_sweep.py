"""Runs a live engine over B × k and over each task's prompts, for `engines.calibration_file` to fit.

The engine is anything that speaks the engine contract: `vllm_xargs.spec_k`, metrics in the body.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import aiohttp

from engines.contract import SPEC_K, EngineMetrics, parse_metrics

TIMEOUT_S = 300.0
ACCEPTANCE_BATCH = 4


class CalibrationError(Exception):
    """The engine could not be measured; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to run: every batch at every k with answers of exactly `tokens` tokens, `rounds` times; then
    `prompts_per_task` prompts of each task at the largest k, whose answers end by themselves or at `answer_tokens`."""

    batches: tuple[int, ...] = (1, 2, 4, 8)
    ks: tuple[int, ...] = (0, 1, 2, 4)
    tokens: int = 48
    rounds: int = 2
    prompts_per_task: int = 12
    answer_tokens: int = 160
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One measured answer, and the batch and k that it ran at."""

    task: str
    batch: int
    k: int
    metrics: EngineMetrics


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers of fixed length for the step times, answers that ended by themselves for acceptance and length."""

    timed: tuple[Answer, ...]
    natural: tuple[Answer, ...] = ()


Prompts = Mapping[str, Sequence[str]]
"""Prompts by task."""


@dataclass(frozen=True, slots=True)
class Client:
    """An engine to ask, with the name of its model."""

    session: aiohttp.ClientSession
    model: str

    async def ask(self, prompt: str, k: int, tokens: int, sweep: Sweep, exact: bool) -> EngineMetrics:
        """The metrics of one completion; CalibrationError where there is none."""
        body = {"model": self.model, "prompt": prompt, "max_tokens": tokens, "temperature": sweep.temperature}
        body |= {"vllm_xargs": {SPEC_K: k}} | ({"min_tokens": tokens, "ignore_eos": True} if exact else {})
        try:
            async with self.session.post("/v1/completions", json=body) as response:
                if response.status != 200:
                    raise CalibrationError(f"{response.url}: {response.status}: {(await response.text())[:300]}")
                metrics = parse_metrics(await response.json())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CalibrationError(f"the engine did not answer: {error!r}") from None
        if metrics is None:
            raise CalibrationError("the answer carries no metrics: start the engine with --enable-per-request-metrics")
        return metrics

    async def model_served(self) -> str:
        """The first model that the engine lists; CalibrationError where it lists none."""
        try:
            async with self.session.get("/v1/models") as response:
                listed = await response.json()
            return str(listed["data"][0]["id"])
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, IndexError, TypeError) as error:
            raise CalibrationError(f"the engine lists no model ({error!r}): name it, or check the URL") from None


async def measure(
    url: str, model: str | None, prompts: Prompts, sweep: Sweep, api_key: str | None = None, *, vanilla: bool = False
) -> Measured:
    """Run the sweep against one engine (a vanilla one: k = 0 only, no acceptance). CalibrationError where it fails."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(url.rstrip("/"), headers=headers, timeout=timeout) as session:
        client = Client(session, model or "")
        client = client if model else replace(client, model=await client.model_served())
        timed = await _timed(client, prompts, replace(sweep, ks=(0,)) if vanilla else sweep)
        return Measured(timed, () if vanilla else await _natural(client, prompts, sweep))


async def _timed(client: Client, prompts: Prompts, sweep: Sweep) -> tuple[Answer, ...]:
    """Closed batches of requests that start together and end together."""
    mixed = [text for texts in zip(*prompts.values(), strict=False) for text in texts]
    await client.ask(mixed[0], max(sweep.ks), sweep.tokens, sweep, True)  # a cold engine's first answer is no sample
    answers: list[Answer] = []
    for k in sweep.ks:
        for batch in sweep.batches:
            for turn in range(sweep.rounds):
                asked = [mixed[(turn * batch + i) % len(mixed)] for i in range(batch)]
                found = await asyncio.gather(*(client.ask(text, k, sweep.tokens, sweep, True) for text in asked))
                answers += [Answer("", batch, k, metrics) for metrics in found]
    return tuple(answers)


async def _natural(client: Client, prompts: Prompts, sweep: Sweep) -> tuple[Answer, ...]:
    answers: list[Answer] = []
    k = max(sweep.ks)
    for task, texts in prompts.items():
        chosen = list(texts[: sweep.prompts_per_task])
        for start in range(0, len(chosen), ACCEPTANCE_BATCH):
            asked = chosen[start : start + ACCEPTANCE_BATCH]
            found = await asyncio.gather(*(client.ask(text, k, sweep.answer_tokens, sweep, False) for text in asked))
            answers += [Answer(task, len(asked), k, metrics) for metrics in found]
    return tuple(answers)
