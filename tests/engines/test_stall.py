"""An engine that hangs while it looks healthy is found out and replaced; one that is idle, or slow, is not."""

import asyncio
import time
import warnings
from collections.abc import AsyncIterator

import aiohttp
import pytest

from engines.engine import SimulatorEngine
from engines.member import Announcing, Member
from engines.pool import PoolSettings, SimulatorOptions
from engines.simulator.failures import Failure, FailureKind
from engines.stall import StalledError, StillWatch
from engines.vllm_load import EngineLoad
from router.state.store import MemoryRegistry

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, at its import
    from engines.replica import EngineReplica

FAST = SimulatorOptions(calibration="cpu-demo", time_scale=100)
POOL = PoolSettings(name="vanilla", engine="simulator", probe=False, stall_s=0.2, simulator=FAST)
OFTEN = Announcing(every_s=0.02, ttl_s=0.5, read_s=0.02)


class Replica(EngineReplica):
    """One whose `__del__` is awaited by tests, as by Serve, and not run by Python when they have ended."""

    def __del__(self) -> None:  # type: ignore[override]
        pass


@pytest.fixture
async def engine() -> AsyncIterator[SimulatorEngine]:
    """The engine of the replica under test."""
    made = SimulatorEngine(POOL, "127.0.0.1", "key")
    yield made
    await made.stop()


async def _member(engine: SimulatorEngine) -> Member:
    member = Member("vanilla-1", POOL, engine, MemoryRegistry(time.monotonic), OFTEN)
    await member.join()
    return member


async def test_a_hung_engine_fails_its_replicas_health(engine: SimulatorEngine) -> None:
    """Requests stand still, /metrics answers: Serve is told, and replaces it."""
    member = await _member(engine)
    replica = Replica(POOL, "127.0.0.1", OFTEN, lambda: MemoryRegistry(time.monotonic))
    replica._members = [member]
    engine._server.engine.failures.add(Failure(kind=FailureKind.STALL, requests=1))
    async with aiohttp.ClientSession(headers={"authorization": "Bearer key"}) as session:
        hung = asyncio.create_task(session.post(f"{engine.url}/v1/completions", json={"prompt": "x"}))
        failure = await asyncio.wait_for(member.failed(), 10)
        assert isinstance(failure, StalledError)
        assert (await engine.load()).running > 0
        with pytest.raises(RuntimeError, match="the engine hangs: nothing generated"):
            await replica.check_health()
        hung.cancel()
        await asyncio.gather(hung, return_exceptions=True)
    await EngineReplica.__del__(replica)


async def test_an_idle_engine_is_asked_and_stays(engine: SimulatorEngine) -> None:
    """It stands still for want of requests: one token now and then shows that it could."""
    member = await _member(engine)
    tally, deadline = engine._server.engine.tally, time.monotonic() + 10
    while tally.served < 2:
        assert time.monotonic() < deadline, "never asked"
        await asyncio.sleep(0.02)
    assert member.failure is None
    await member.leave(drain_s=0)


def test_any_change_but_of_the_queue_is_progress() -> None:
    """A long prompt fills the KV cache before it counts; what waits grows at a hung engine too."""
    now = 0.0
    watch = StillWatch(lambda: now)
    for load, still in (
        (EngineLoad(1, 0, 0.1, 10), 0.0),
        (EngineLoad(1, 0, 0.1, 11), 0.0),
        (EngineLoad(1, 0, 0.2, 11), 0.0),
        (EngineLoad(2, 0, 0.2, 11), 0.0),
        (EngineLoad(2, 5, 0.2, 11), 1.0),
        (EngineLoad(2, 9, 0.2, 11), 2.0),
    ):
        now += 1
        watch.observe(load)
        assert watch.still_s == still
    watch.reset()
    assert watch.still_s == 0


async def test_a_replica_that_never_got_so_far_leaves_quietly() -> None:
    """Serve ends replicas whose constructor failed, too."""
    await EngineReplica.__del__(Replica.__new__(Replica))


async def test_one_member_that_cannot_leave_keeps_no_other(
    engine: SimulatorEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them are told; what went wrong is logged."""

    class Stuck:
        name, failure = "stuck", None

        async def leave(self, drain_s: float) -> None:
            raise ConnectionError("no way out")

    replica = Replica(POOL, "127.0.0.1", OFTEN, lambda: MemoryRegistry(time.monotonic))
    member = await _member(engine)
    replica._members = [Stuck(), member]  # type: ignore[list-item]
    await EngineReplica.__del__(replica)
    assert "stuck did not leave cleanly" in caplog.text
    with pytest.raises(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"{engine.url}/health")
