"""Runs a live engine over B × k and over each task's prompts, for `engines.calibration_file` to fit.

The engine is anything that speaks the engine contract: `vllm_xargs.spec_k`, metrics in the body.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from engines.contract import EngineMetrics
from engines.engine_client import EngineClient
from engines.http import engine_session
from engines.progress import Report, silent

ACCEPTANCE_BATCH = 4


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

Advance = Callable[[int, int], None]
"""Told (done, all) of what a stage runs."""


async def measure(
    url: str,
    model: str | None,
    prompts: Prompts,
    sweep: Sweep,
    api_key: str | None = None,
    *,
    vanilla: bool = False,
    progress: Report = silent,
) -> Measured:
    """Run the sweep against one engine (a vanilla one: k = 0 only, no acceptance). MeasurementError where it fails."""
    async with engine_session() as session:
        client = await EngineClient.opened(session, url, model, api_key)
        if vanilla:
            return Measured(await _timed(client, prompts, replace(sweep, ks=(0,)), partial(progress, "vanilla")))
        timed = await _timed(client, prompts, sweep, partial(progress, "batches"))
        return Measured(timed, await _natural(client, prompts, sweep, partial(progress, "prompts of each task")))


async def _timed(client: EngineClient, prompts: Prompts, sweep: Sweep, advance: Advance) -> tuple[Answer, ...]:
    """Closed batches of requests that start together and end together."""
    batches = list(product(sweep.ks, sweep.batches, range(sweep.rounds)))
    advance(0, len(batches))
    mixed = [text for texts in zip(*prompts.values(), strict=False) for text in texts]
    timed = partial(client.ask, tokens=sweep.tokens, temperature=sweep.temperature, exact=True)
    await timed(mixed[0], k=max(sweep.ks))  # a cold engine's first answer is no sample
    answers: list[Answer] = []
    for done, (k, batch, turn) in enumerate(batches, 1):
        asked = [mixed[(turn * batch + i) % len(mixed)] for i in range(batch)]
        found = await asyncio.gather(*(timed(text, k=k) for text in asked))
        answers += [Answer("", batch, k, metrics) for metrics in found]
        advance(done, len(batches))
    return tuple(answers)


async def _natural(client: EngineClient, prompts: Prompts, sweep: Sweep, advance: Advance) -> tuple[Answer, ...]:
    answers: list[Answer] = []
    k = max(sweep.ks)
    ask = partial(client.ask, k=k, tokens=sweep.answer_tokens, temperature=sweep.temperature)
    chosen = {task: list(texts[: sweep.prompts_per_task]) for task, texts in prompts.items()}
    total = sum(map(len, chosen.values()))
    for task, texts in chosen.items():
        for start in range(0, len(texts), ACCEPTANCE_BATCH):
            asked = texts[start : start + ACCEPTANCE_BATCH]
            found = await asyncio.gather(*(ask(text, task=task) for text in asked))
            answers += [Answer(task, len(asked), k, metrics) for metrics in found]
            advance(len(answers), total)
    return tuple(answers)
