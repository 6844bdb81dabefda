"""Marks of engine replicas: kept apart from heartbeats, shared by routers, and never a reason for a refusal."""

import uuid
from collections.abc import AsyncIterator

import pytest

from engines.registry import Heartbeat
from router.state.marks import Mark, MarkKind, Marks, MemoryMarks
from router.state.redis_marks import RedisMarks
from router.state.redis_store import Keys, connect
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet

DRAIN = Mark("drain", "ana", 100.0, "driver update")


@pytest.fixture(params=["memory", "redis"])
async def marks(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Marks]:
    """Each implementation."""
    if request.param == "memory":
        yield MemoryMarks()
        return
    redis = connect(redis_url, timeout_s=5)
    yield RedisMarks(redis, Keys(f"test-{uuid.uuid4().hex[:8]}"))
    await redis.aclose()


async def test_a_mark_stays_until_it_is_taken_away(marks: Marks) -> None:
    """The last one counts; taking one away says whether there was one."""
    assert await marks.all() == {}
    await marks.put("a", DRAIN)
    await marks.put("b", Mark("cordon", "bo", 1.0))
    await marks.put("a", Mark("cordon", "bo", 2.0))
    assert await marks.all() == {"a": Mark("cordon", "bo", 2.0), "b": Mark("cordon", "bo", 1.0)}
    assert await marks.remove("a")
    assert not await marks.remove("a")
    assert list(await marks.all()) == ["b"]


async def test_what_redis_lost_is_given_back_and_what_was_taken_away_is_not(redis_url: str) -> None:
    """A wiped server sends no traffic to a drained engine; a hash that was emptied on purpose stays empty."""
    redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex[:8]}")
    one, two = RedisMarks(redis, keys), RedisMarks(redis, keys)
    await one.put("a", DRAIN)
    assert await one.all() == await two.all() == {"a": DRAIN}
    await redis.delete(keys.marks)
    assert await two.all() == {"a": DRAIN}
    assert await one.all() == {"a": DRAIN}
    await one.remove("a")
    assert await two.all() == {}
    assert await one.all() == {}
    await redis.hset(keys.marks, "b", '{"kind": "drain", "colour": 1}')
    assert await one.all() == {}
    await redis.aclose()


def _states(kinds: dict[str, MarkKind], names: str = "ab", **facts: object) -> dict[str, str]:
    fleet = Fleet(lambda: 100.0, 5.0, Tolerance())
    base = {"pool": "p", "model": "m", "target": "t", "url": "http://a", "clock_s": 100.0, **facts}
    beats = [Heartbeat.model_validate({"replica": name, **base}) for name in names]
    fleet.update(beats)
    fleet.marks = {name: Mark(kind, "ana", 1.0) for name, kind in kinds.items()}
    fleet.update([beat.model_copy(update={"clock_s": 101.0}) for beat in beats])
    return {replica.name: replica.state for replica in fleet.replicas("m")}


def test_heartbeats_do_not_undo_a_mark() -> None:
    """A replica that says it is ready is not, where an operator says otherwise."""
    assert _states({"a": "drain"}) == {"a": "draining", "b": "ready"}
    assert _states({"a": "cordon"}) == {"a": "draining", "b": "ready"}


def test_a_cordon_never_leaves_a_model_without_engines() -> None:
    """Cordoned replicas serve where no other can; drained ones never do."""
    assert _states({"a": "cordon", "b": "cordon"}) == {"a": "ready", "b": "ready"}
    assert _states({"a": "cordon", "b": "drain"}) == {"a": "ready", "b": "draining"}
    assert _states({"a": "drain", "b": "drain"}) == {"a": "draining", "b": "draining"}
    assert _states({"gone": "drain"}) == {"a": "ready", "b": "ready"}


def test_a_mark_does_not_make_a_starting_replica_ready() -> None:
    """Only what is ready is looked at."""
    assert _states({"a": "cordon"}, "a", state="starting") == {"a": "down"}


def test_drained_places_are_no_room() -> None:
    """A full pool does not look free because of a replica that takes nothing."""
    fleet = Fleet(lambda: 100.0, 5.0, Tolerance())
    base = {"pool": "p", "model": "m", "target": "t", "url": "http://a", "clock_s": 100.0, "max_running": 4}
    fleet.update(
        [
            Heartbeat.model_validate({"replica": "full", "running": 4, **base}),
            Heartbeat.model_validate({"replica": "idle", **base}),
        ]
    )
    assert fleet.has_room("p", 1.0)
    fleet.marks = {"idle": DRAIN}
    assert not fleet.has_room("p", 1.0)
