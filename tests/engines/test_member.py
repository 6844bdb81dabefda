"""The life of an engine in the fleet, on the simulator."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from engines.engine import SimulatorEngine
from engines.member import Announcing, LeftEarlyError, Member
from engines.placement import Autoscaling
from engines.pool import PoolSettings, SimulatorOptions
from engines.registry import Heartbeat
from engines.simulator.settings import SimulatorSettings
from router.state.store import MemoryRegistry

FAST = SimulatorOptions(calibration="cpu-demo", time_scale=100)
POOL = PoolSettings(name="draft", engine="simulator", drafter="d", method="draft_model", k_max=2, simulator=FAST)
OFTEN = Announcing(every_s=0.02, ttl_s=0.5, read_s=0.02)


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
    assert starting.state == "starting"
    assert starting.phase in {"starting", "reading its context", "measuring step times"}
    await joining
    (ready,) = await _until(lambda beats: [beat.state for beat in beats] == ["ready"], registry)
    assert {(point.batch, point.k) for point in ready.probe} == {(b, k) for b in (1, 4) for k in (0, 1, 2)}
    assert (ready.api_key, ready.k_max, ready.max_running, ready.phase) == ("key", 2, POOL.max_running, "")
    assert ready.max_context_tokens == SimulatorSettings().max_model_len, "as the engine's own /v1/models says"


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


class Troubled(SimulatorEngine):
    """An engine whose start can be held up and whose drain fails."""

    def __init__(self) -> None:
        super().__init__(POOL, "127.0.0.1", "key")
        self.may_start = asyncio.Event()
        self.stopped = 0

    async def start(self) -> None:
        await self.may_start.wait()
        await super().start()

    async def drain(self, limit_s: float) -> bool:
        raise ConnectionError("gone")

    async def stop(self) -> None:
        self.stopped += 1
        await super().stop()


class Away(MemoryRegistry):
    """A registry that cannot be reached."""

    async def announce(self, heartbeat: Heartbeat, ttl_s: float) -> bool:
        raise ConnectionError("redis is away")

    async def withdraw(self, replica: str) -> None:
        raise ConnectionError("redis is away")


async def test_a_drain_that_fails_leaves_no_engine_behind(registry: MemoryRegistry) -> None:
    """Whoever called hears of it, after the engine was ended and forgotten."""
    engine = Troubled()
    engine.may_start.set()
    member = Member("draft-1", POOL, engine, registry, OFTEN)
    await member.join()
    with pytest.raises(ConnectionError, match="gone"):
        await member.leave(drain_s=1)
    assert engine.stopped == 1
    assert await registry.replicas() == []


async def test_a_registry_that_raises_keeps_nobody_from_leaving() -> None:
    """Redis away is no reason to leave an engine running."""
    away = Away(time.monotonic)
    engine = SimulatorEngine(POOL, "127.0.0.1", "key")
    member = Member("draft-1", POOL, engine, away, OFTEN)
    await member.join()
    await asyncio.wait_for(member.leave(drain_s=1), 10)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{engine.url}/health")


@pytest.mark.parametrize("started", [False, True], ids=["while it starts", "as it has started"])
async def test_to_leave_while_it_starts_wins(registry: MemoryRegistry, *, started: bool) -> None:
    """It never becomes ready, the engine is ended, and who waits for it is told."""
    engine = Troubled()
    member = Member("draft-1", POOL, engine, registry, OFTEN)
    joining = asyncio.create_task(member.join())
    await _until(lambda beats: bool(beats), registry)
    if started:
        engine.may_start.set()
    await member.leave(drain_s=1)
    with pytest.raises(LeftEarlyError, match="draft-1 was told to leave"):
        await joining
    assert engine.stopped == 1
    assert await registry.replicas() == []


def test_a_drain_begins_when_every_router_knows() -> None:
    """They read once a second, however often it is announced."""
    assert Announcing(every_s=0.1).notice_s == 1.0
    assert Announcing(every_s=2.0).notice_s == 4.0


async def test_what_waits_is_drained_too() -> None:
    """A request in the queue was promised an answer like one in the batch."""
    engine = SimulatorEngine(POOL, "127.0.0.1", "key")
    batch = engine._server.engine.batch
    batch.waiting.append(None)  # type: ignore[arg-type]  # anything that waits
    assert not await engine.drain(limit_s=0.1)
    batch.waiting.clear()
    assert await engine.drain(limit_s=0.1)


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


SLEEPER = POOL.model_copy(update={"autoscaling": Autoscaling(idle_s=1)})


def _sleeper(name: str, registry: MemoryRegistry) -> Member:
    return Member(name, SLEEPER, SimulatorEngine(SLEEPER, "127.0.0.1", "key"), registry, OFTEN)


async def test_the_last_replica_of_a_sleeping_pool_leaves_word(registry: MemoryRegistry) -> None:
    """What the pool was like, without the key; the next replica takes it back."""
    first, second = _sleeper("draft-1", registry), _sleeper("draft-2", registry)
    await first.join()
    await first.leave(drain_s=0)
    (word,) = await registry.replicas()
    assert (word.replica, word.state, word.api_key, word.drafter) == ("draft-1", "asleep", None, "d")
    assert {(point.batch, point.k) for point in word.probe} == {(b, k) for b in (1, 4) for k in (0, 1, 2)}
    await second.join()
    await _until(lambda beats: [(beat.replica, beat.state) for beat in beats] == [("draft-2", "ready")], registry)
    await second.leave(drain_s=0)


async def test_a_replica_that_is_not_the_last_leaves_no_word(registry: MemoryRegistry) -> None:
    """The pool does not sleep."""
    first, second = _sleeper("draft-1", registry), _sleeper("draft-2", registry)
    await first.join()
    await second.join()
    await first.leave(drain_s=0)
    assert [beat.replica for beat in await registry.replicas()] == ["draft-2"]
    await second.leave(drain_s=0)


async def test_that_nobody_hears_it_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Routers forget such a replica: its log says why, and is not filled by it."""
    tried = asyncio.Event()

    class AwayTwice(Away):
        tries = 0

        async def announce(self, heartbeat: Heartbeat, ttl_s: float) -> bool:
            self.tries += 1
            if self.tries > 2:
                tried.set()
            return await super().announce(heartbeat, ttl_s)

    member = Member("draft-1", POOL, SimulatorEngine(POOL, "127.0.0.1", "key"), AwayTwice(time.monotonic), OFTEN)
    with caplog.at_level("WARNING", logger="alpharoute.engines"):
        announcing = asyncio.create_task(member._announce())
        await asyncio.wait_for(tried.wait(), 5)
        announcing.cancel()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "draft-1 is not announced: ConnectionError: redis is away"
