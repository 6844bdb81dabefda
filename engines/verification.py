"""What is found out about an engine that has just started, before it gets a request."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from engines.engine import Engine
from engines.pool import PoolSettings
from engines.turn import WAITING, Turn
from engines.vllm_flags import METRICS_FLAG
from engines.vllm_models import read_context
from engines.vllm_probe import PROBED_BATCHES, PROBED_ROUNDS, WIDE_BATCH, probe
from engines.vllm_selfcheck import self_check
from policies.replica import StepTime

logger = logging.getLogger("alpharoute.engines")

LEAST_CONTEXT_TOKENS = 1024
"""Far above what the wide batch's answers take."""


class UnfitEngineError(Exception):
    """An engine whose self-check failed: it must not get traffic."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Its context in tokens, whether sampled output survives speculation, and its step times."""

    context_tokens: int | None
    sampled_speculation: bool = True
    probe: tuple[StepTime, ...] = ()


async def verify(
    turn: Turn, pool: PoolSettings, engine: Engine, max_running: int, tell: Callable[[str], None]
) -> Verified:
    """Check the engine of a replica and, when its `turn` has come, measure it; `tell` hears what it is busy with.

    Raises UnfitEngineError where it must not serve, and what its HTTP raises.
    """
    tell("reading its context")
    context_tokens = await read_context(engine.url, engine.api_key, pool.model) or pool.vllm.max_model_len
    sampled_ok = await _self_checked(turn.name, pool, engine, tell)
    wide = wide_batch(pool, context_tokens, max_running)
    return Verified(context_tokens, sampled_ok, await _measured(turn, pool, engine, max_running, wide, tell))


def wide_batch(pool: PoolSettings, context_tokens: int | None, max_running: int) -> int:
    """Requests of the one wide batch that is measured, 0 for none: an engine elsewhere may be serving others, and a
    simulated one is no different in a full batch."""
    fits = (
        context_tokens is not None and context_tokens >= LEAST_CONTEXT_TOKENS and max_running >= 4 * max(PROBED_BATCHES)
    )
    return min(WIDE_BATCH, max_running) if pool.engine == "vllm" and fits else 0


async def _self_checked(name: str, pool: PoolSettings, engine: Engine, tell: Callable[[str], None]) -> bool:
    if not pool.self_check or pool.method is None or pool.engine == "simulator":
        return True
    tell("checking itself")
    found = await self_check(engine.url, engine.api_key, model=pool.model, k_max=pool.k_max, method=pool.method)
    for problem in found.problems:
        logger.warning("%s: self-check: %s", name, problem)
    if not (found.greedy_identical and found.k_honoured):
        raise UnfitEngineError(f"pool {pool.name!r} failed its self-check: {'; '.join(found.problems)}")
    return found.sampled_ok


async def _measured(
    turn: Turn, pool: PoolSettings, engine: Engine, max_running: int, wide: int, tell: Callable[[str], None]
) -> tuple[StepTime, ...]:
    if not pool.probe:
        return ()
    if pool.engine == "vllm":  # one that another loads, or that simulates its steps, has nothing to wait for
        tell(WAITING)
        await turn.come()
    tell("measuring step times")
    batches = [batch for batch in PROBED_BATCHES if batch <= max_running]
    # Once where steps are simulated: nothing else on a machine slows these down.
    rounds = 1 if pool.engine == "simulator" else PROBED_ROUNDS
    url, key, model = engine.url, engine.api_key, pool.model
    found = await probe(url, key, model=model, k_max=pool.k_max, batches=batches, rounds=rounds, wide=wide)
    if not found:
        logger.warning("%s: no step time could be measured; is it started with %s?", turn.name, METRICS_FLAG)
    return found
