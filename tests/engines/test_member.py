"""The life of an engine in the fleet, on the simulator."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from engines.engine import SimulatorEngine, UrlEngine
from engines.member import Announcing, Member
from engines.pool import PoolSettings, SimulatorOptions
from engines.registry import Heartbeat
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from router.store import MemoryRegistry

FAST = SimulatorOptions(calibration="cpu-demo", time_scale=100)
POOL = PoolSettings(name="draft", engine="simulator", drafter="d", method="draft_model", k_max=2, simulator=FAST)
OFTEN = Announcing(every_s=0.02, ttl_s=0.5)


@pytest.fixture
def registry() -> MemoryRegistry:
    """Where the member announces itself."""
    return MemoryRegistry(time.monotonic)


@pytest.fixture
async def member(registry: MemoryRegistry) -> AsyncIterator[Member]:
    """A member that has not joined yet."""
    made = Member("draft-1", POOL, SimulatorEngine(POOL, "127.0.0.1", "key"), registry, OFTEN)
    yield made
    await made.leave(drain_s=0)


async def _until(good: Callable[[list[Heartbeat]], bool], registry: MemoryRegistry) -> list[Heartbeat]:
    deadline = time.monotonic() + 10
    while not good(beats := await registry.replicas()):
        assert time.monotonic() < deadline, f"never so: {beats}"
        await asyncio.sleep(0.01)
    return beats


async def test_it_is_announced_from_its_start_and_ready_once_measured(member: Member, registry: MemoryRegistry) -> None:
    """Operators see it start; routers get it with its step times, its key and its limits."""
    joining = asyncio.create_task(member.join())
    (starting,) = await _until(lambda beats: bool(beats), registry)
    assert (starting.state, starting.phase) in {("starting", "starting"), ("starting", "measuring step times")}
    await joining
    (ready,) = await _until(lambda beats: [beat.state for beat in beats] == ["ready"], registry)
    assert {(point.batch, point.k) for point in ready.probe} == {(b, k) for b in (1, 4) for k in (0, 1, 2)}
    assert (ready.api_key, ready.k_max, ready.max_running, ready.phase) == ("key", 2, POOL.max_running, "")


async def test_it_goes_on_announcing(member: Member, registry: MemoryRegistry) -> None:
    """A heartbeat is newer each time, so that a router knows it lives."""
    await member.join()
    (first,) = await _until(lambda beats: bool(beats) and beats[0].state == "ready", registry)
    await _until(lambda beats: beats[0].clock_s > first.clock_s, registry)


async def test_it_leaves_by_way_of_draining(registry: MemoryRegistry) -> None:
    """Routers are told before the engine ends, and the registry forgets it."""
    member = Member("draft-1", POOL, SimulatorEngine(POOL, "127.0.0.1", "key"), registry, OFTEN)
    await member.join()
    leaving = asyncio.create_task(member.leave(drain_s=5))
    await _until(lambda beats: [beat.state for beat in beats] == ["draining"], registry)
    await leaving
    assert await registry.replicas() == []


async def test_an_engine_that_dies_is_withdrawn_at_once(member: Member, registry: MemoryRegistry) -> None:
    """Its failure is kept for the health check, and no heartbeat follows."""
    await member.join()
    engine = member._engine
    assert isinstance(engine, SimulatorEngine)
    engine._die()
    await _until(lambda beats: beats == [], registry)
    assert member.failure is not None


async def test_an_engine_that_dies_while_it_is_measured_says_how(registry: MemoryRegistry) -> None:
    """Not that a connection was refused."""
    slow = POOL.model_copy(update={"simulator": SimulatorOptions(calibration="cpu-demo")})
    engine = SimulatorEngine(slow, "127.0.0.1", "key")
    joining = asyncio.create_task(Member("draft-1", slow, engine, registry, OFTEN).join())
    await _until(lambda beats: bool(beats) and beats[0].phase == "measuring step times", registry)
    engine._die()
    with pytest.raises(RuntimeError, match="told to exit"):
        await joining
    assert await registry.replicas() == []


async def test_a_server_by_url_is_announced_while_it_answers(registry: MemoryRegistry) -> None:
    """Somebody else's server vanishes from the fleet when it stops answering."""
    settings = SimulatorSettings(model="demo", calibration="instant", api_key="theirs")
    pool = PoolSettings.model_validate(
        {"name": "theirs", "engine": "url", "urls": ["http://127.0.0.1:1"], "probe": False}
    )
    async with SimulatorServer(SimulatedEngine(settings)) as server:
        member = Member("theirs-0", pool, UrlEngine(server.url, "theirs"), registry, OFTEN)
        await member.join()
        (beat,) = await _until(lambda beats: bool(beats) and beats[0].state == "ready", registry)
        assert (beat.url, beat.api_key) == (server.url, "theirs")
    await _until(lambda beats: beats == [], registry)
    await member.leave(drain_s=0)
