"""Measures a live engine's step time T(B, k), so that the router's first decisions are informed."""

import asyncio
import math
import statistics
from collections.abc import Awaitable, Callable, Sequence

from engines.contract import EngineMetrics
from engines.http import engine_session
from engines.vllm_completion import Completer
from policies.replica import StepTime

PROMPT = "one two three one two three one two three one two three request {}: one two three"
WARM_UP_TOKENS = 16
LIMIT_S = 120.0
PROBED_BATCHES, PROBED_ROUNDS = (1, 4), 3
MAX_POINTS = 6
"""Values of k that are measured; between them the cost model interpolates."""

WIDE_BATCH, WIDE_STEPS = 64, 32
"""A batch in which a draft's own price shows: of four requests it is less than the error of a measurement, and at a
hundred it decides. It takes some steps until all of them run."""
WIDE_LIMIT_S = 5.0
"""No wide batch where as many steps of the slowest small one take longer than this."""


async def probe(
    url: str,
    api_key: str | None,
    *,
    model: str,
    k_max: int,
    batches: Sequence[int] = PROBED_BATCHES,
    steps: int = 8,
    rounds: int = PROBED_ROUNDS,
    wide: int = 0,
) -> tuple[StepTime, ...]:
    """Milliseconds per verify step for each batch size and k (0 alone where `k_max` is 0), fastest of `rounds`; and
    once of `wide` requests, without drafts and with all, unless small batches foretell that this takes long.

    The fastest, because whatever else the machine does can only slow a step down; in rounds over all points, because
    what slows it for a second or two would else meet all measurements of one. A point is left out where the drafter
    found nothing to propose in most steps (n-gram). Raises aiohttp.ClientError or TimeoutError.
    """
    async with engine_session(LIMIT_S) as session:
        complete = Completer(session, url, api_key, model)
        tokens_per_step = await _warm_up(complete, k_max)

        async def measure(batch: int, k: int, steps: int = steps) -> float | None:
            tokens = 1 + math.ceil(steps * min(tokens_per_step, k + 1))
            return await _step_ms(complete, batch, k, tokens)

        found = await fastest([(batch, k) for k in measured_ks(k_max) for batch in batches], rounds, measure)
        if not wide or not found or WIDE_STEPS * max(point.step_ms for point in found) > 1e3 * WIDE_LIMIT_S:
            return found
        once = [(k, await measure(wide, k, WIDE_STEPS)) for k in sorted({0, k_max})]
        return (*found, *(StepTime(batch=wide, k=k, step_ms=ms) for k, ms in once if ms is not None))


async def fastest(
    points: Sequence[tuple[int, int]], rounds: int, measure: Callable[[int, int], Awaitable[float | None]]
) -> tuple[StepTime, ...]:
    """The least of `rounds` measurements of each (batch, k), taken in turn; without those that were never one."""
    least: dict[tuple[int, int], float] = {}
    for _ in range(rounds):
        for point in points:
            if (ms := await measure(*point)) is not None:
                least[point] = min(ms, least.get(point, ms))
    return tuple(StepTime(batch=batch, k=k, step_ms=least[batch, k]) for batch, k in points if (batch, k) in least)


def step_ms(metrics: EngineMetrics, k: int) -> float | None:
    """Milliseconds per decode step of one finished request; None where it says nothing of T(B, k).

    `generation_ms` spans the first to the last token: without drafts a step per further token, with drafts a step per
    entry. Steps that found no draft are in neither list; they may be a minority, counted by the tokens they gave.
    """
    if k == 0:
        steps = metrics.output_tokens - 1
    elif metrics.steps is None or not metrics.steps.drafted:
        return None
    else:
        drafting = len(metrics.steps.drafted)
        steps = max(drafting, metrics.output_tokens - 1 - sum(metrics.steps.accepted))
        if drafting < steps / 2:
            return None
    return metrics.generation_ms / steps if steps > 0 and metrics.generation_ms > 0 else None


async def _warm_up(complete: Completer, k_max: int) -> float:
    """Let lazy work happen before anything is timed; the tokens a step gives at `k_max`."""
    answers = [
        await complete(PROMPT.format(0), k=k, max_tokens=WARM_UP_TOKENS, temperature=0.0) for k in sorted({0, k_max})
    ]
    metrics = answers[-1].metrics
    if metrics is None or metrics.steps is None or not metrics.steps.drafted:
        return 1.0
    return 1.0 + statistics.fmean(metrics.steps.accepted)


def measured_ks(k_max: int) -> list[int]:
    """0 … k_max, or `MAX_POINTS` of them evenly spread with both ends."""
    if k_max < MAX_POINTS:
        return list(range(k_max + 1))
    return sorted({round(i * k_max / (MAX_POINTS - 1)) for i in range(MAX_POINTS)})


async def _step_ms(complete: Completer, batch: int, k: int, tokens: int) -> float | None:
    """One batch of equal requests at once; the step time of the one that finished first.

    Until it finished, all of the batch ran; the others end in a smaller one.
    """
    answers = await asyncio.gather(
        *(complete(PROMPT.format(i), k=k, max_tokens=tokens, temperature=0.0) for i in range(batch))
    )
    metrics = [answer.metrics for answer in answers if answer.metrics is not None]
    if len(metrics) < batch:
        return None
    return step_ms(min(metrics, key=lambda m: m.generation_ms), k)
