"""The contract of stores and registries, over the in-memory and the Redis implementation."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.registry import Heartbeat, Registry
from policies.event import Event
from policies.records import EMPTY, Delta, Record, Shrink, apply
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import RECORD_EXPIRY_S, Keys, RedisStore, connect
from router.state.store import Copies, Cursor, LostError, MemoryRegistry, MemoryStore, Restored, Store, StoreError

FIELDS = ("s1", "e1", "+cusum", "^until", "yb")
DELTAS = st.lists(
    st.builds(
        Delta,
        key=st.sampled_from(("acc:a", "acc:b|ü c")),
        add=st.dictionaries(st.sampled_from(FIELDS), st.floats(-50, 50), max_size=5),
        steps=st.floats(0, 2000),
        half_life_steps=st.sampled_from((0.0, 600.0)),
        half_life_s=st.sampled_from((0.0, 21_600.0)),
        shrink=st.none() | st.builds(Shrink, epoch=st.integers(0, 2), scale=st.floats(0.01, 1)),
        epoch=st.none() | st.integers(0, 2),
    ),
    max_size=8,
)


@dataclass
class Clock:
    """A clock that the test sets."""

    now_s: float = 1_700_000_000.0

    def __call__(self) -> float:
        """The time that was set."""
        return self.now_s


async def _redis_records(url: str, deltas: list[Delta], times_s: list[float]) -> dict[str, Record]:
    clock, redis = Clock(), connect(url, timeout_s=5)
    store = RedisStore(redis, Keys(f"test-{uuid.uuid4().hex}"), clock)
    try:
        for delta, clock.now_s in zip(deltas, times_s, strict=False):
            await store.merge([delta])
        return dict((await store.changes(Cursor())).records)
    finally:
        await redis.aclose()


@pytest.mark.redis
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deltas=DELTAS, gaps_s=st.lists(st.floats(-100, 100_000), min_size=8, max_size=8))
def test_the_script_agrees_with_the_reference(redis_url: str, deltas: list[Delta], gaps_s: list[float]) -> None:
    """Redis' Lua script leaves the record that `policies.records.apply` leaves, clocks that jump back included."""
    times_s = [1_700_000_000.0 + sum(gaps_s[: i + 1]) for i in range(len(gaps_s))]
    expected: dict[str, Record] = {}
    for delta, now_s in zip(deltas, times_s, strict=False):
        expected[delta.key] = apply(expected.get(delta.key, EMPTY), delta, now_s)
    got = asyncio.run(_redis_records(redis_url, deltas, times_s))
    assert got.keys() == expected.keys()
    for key, record in expected.items():
        assert got[key].epoch == record.epoch
        assert got[key].at_s == pytest.approx(record.at_s, abs=1e-5)
        assert got[key].fields.keys() == record.fields.keys()
        for name, value in record.fields.items():
            assert math.isclose(got[key].fields[name], value, rel_tol=1e-9, abs_tol=1e-9)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Each implementation, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    redis = connect(request.getfixturevalue("redis_url"), timeout_s=5)
    yield RedisStore(redis, Keys(f"test-{uuid.uuid4().hex}"))
    await redis.aclose()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[Registry]:
    """Each implementation, empty, on the real clock."""
    if request.param == "memory":
        yield MemoryRegistry(asyncio.get_running_loop().time)
        return
    redis = connect(request.getfixturevalue("redis_url"), timeout_s=5)
    yield RedisRegistry(redis, Keys(f"test-{uuid.uuid4().hex}"))
    await redis.aclose()


async def test_only_what_changed_is_read_again(store: Store) -> None:
    """A router that asks with its cursor gets the records touched since, and nothing when nothing was."""
    await store.merge([Delta("acc:a", {"s1": 1.0}), Delta("acc:b", {"s1": 1.0})])
    first = await store.changes(Cursor())
    assert first.records.keys() == {"acc:a", "acc:b"}
    assert (await store.changes(first.cursor)).records == {}
    await store.merge([Delta("acc:b", {"s1": 2.0})])
    second = await store.changes(first.cursor)
    assert {key: record.fields for key, record in second.records.items()} == {"acc:b": {"s1": 3.0}}


async def test_two_writers_add_up(store: Store) -> None:
    """Deltas of two routers at the same time are both in the record."""
    await asyncio.gather(*(store.merge([Delta("acc:a", {"e1": 1.0})]) for _ in range(20)))
    assert (await store.changes(Cursor())).records["acc:a"].fields == {"e1": 20.0}


async def test_a_shrink_happens_once(store: Store) -> None:
    """Two routers that see the same drift shrink the record once: the second finds another epoch."""
    await store.merge([Delta("acc:a", {"s1": 100.0})])
    shrink = Delta("acc:a", {}, shrink=Shrink(epoch=0, scale=0.2))
    await store.merge([shrink, shrink])
    record = (await store.changes(Cursor())).records["acc:a"]
    assert record.epoch == 1
    assert record.fields["s1"] == pytest.approx(20.0)


@pytest.mark.redis
async def test_what_is_lost_while_it_is_read_does_not_look_expired(redis_url: str) -> None:
    """Between the question where the store is and the one what is in it: an empty index is not all there is."""
    redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex}")

    class Wiped(RedisStore):
        async def position(self) -> Cursor:
            """See Store."""
            now = await super().position()
            await redis.delete(keys.generation, keys.index, keys.record("acc:a"))
            return now

    try:
        await RedisStore(redis, keys).merge([Delta("acc:a", {"s1": 1.0})])
        with pytest.raises(LostError):
            await Wiped(redis, keys).changes(Cursor())
    finally:
        await redis.aclose()


async def test_a_cursor_of_another_time_reads_everything(store: Store) -> None:
    """One of another generation, or ahead of the store, asks for all there is, and is told that it is all."""
    await store.merge([Delta("acc:a", {"s1": 1.0})])
    now = await store.position()
    for cursor in (Cursor(), Cursor("other", now.version), Cursor(now.generation, now.version + 1_000)):
        changes = await store.changes(cursor)
        assert changes.records.keys() == changes.versions.keys() == {"acc:a"}
        assert changes.cursor == now
        assert changes.complete
    assert not (await store.changes(now)).complete


async def test_a_generation_that_ended_takes_no_writes(store: Store) -> None:
    """Who believes in data that was lost must read before it writes; nothing of the batch is done."""
    with pytest.raises(LostError):
        await store.merge([Delta("acc:a", {"s1": 1.0})], "batch", "ended")
    with pytest.raises(LostError):
        await store.restore(copies(a=Record({"s1": 1.0})), "ended")
    now = await store.position()
    assert now.version == 0
    assert list(await store.merge([Delta("acc:a", {"s1": 1.0})], "batch", now.generation)) == [1]


async def test_what_is_no_number_is_not_written(redis_url: str) -> None:
    """A field that is infinite or undefined would poison its record for every router."""
    redis = connect(redis_url, timeout_s=5)
    store = RedisStore(redis, Keys(f"test-{uuid.uuid4().hex}"))
    await store.merge([Delta("acc:a", {"s1": math.nan, "e1": math.inf, "q": 1e300})])
    assert (await store.changes(Cursor())).records["acc:a"].fields == {"q": 1e300}
    await redis.aclose()


def copies(name: str = "a", **records: Record) -> Copies:
    """What a router held of the generation that ended, read at version 7."""
    held = {f"acc:{key}": record for key, record in records.items()}
    return Copies(name, "ended", held, dict.fromkeys(held, 7))


async def test_a_lost_record_is_given_back_once(store: Store) -> None:
    """The first router's copy is it; a second is told from where that one was; a repeated attempt changes nothing."""
    generation = (await store.position()).generation
    first = copies("one", a=Record({"s1": 2.5, "+c": 0.0, "^t": 9.0}, 1_700_000_000.25, 3))
    second = copies("two", a=Record({"s1": 9.0}), b=Record({"s1": 1.0}))
    assert (await store.restore(first, generation)).ours == {"acc:a"}
    assert await store.restore(second, generation) == Restored(frozenset({"acc:b"}), {"acc:a": Cursor("ended", 7)})
    assert (await store.restore(first, generation)).ours == {"acc:a"}
    assert (await store.changes(Cursor())).records == {**first.records, "acc:b": Record({"s1": 1.0})}


async def test_a_record_begun_anew_gets_its_history_back(store: Store) -> None:
    """A router that knew nothing of it may have been first: what it wrote and what was lost are both in the record."""
    generation = (await store.position()).generation
    await store.merge([Delta("acc:a", {"s1": 1.0, "+c": 2.0, "^t": 5.0})])
    lost = copies(a=Record({"s1": 40.0, "+c": 3.0, "^t": 4.0, "e1": 7.0}, 5.0, 2))
    for _ in range(2):
        assert (await store.restore(lost, generation)).ours == {"acc:a"}
    record = (await store.changes(Cursor())).records["acc:a"]
    assert record.fields == {"s1": 41.0, "+c": 5.0, "^t": 5.0, "e1": 7.0}
    assert record.epoch == 2


@pytest.mark.redis
async def test_a_record_that_was_never_lost_is_left(redis_url: str) -> None:
    """Redis may lose the name of the generation alone, by an eviction: records that are there are not doubled."""
    redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex}")
    store = RedisStore(redis, keys)
    await store.position()
    await store.merge([Delta("acc:a", {"s1": 1.0})])
    await redis.delete(keys.generation)
    generation = (await store.position()).generation
    assert await store.restore(copies(a=Record({"s1": 1.0})), generation) == Restored()
    assert (await store.changes(Cursor())).records["acc:a"].fields == {"s1": 1.0}
    await redis.aclose()


@pytest.mark.redis
async def test_what_expired_leaves_the_index(redis_url: str) -> None:
    """Names of records that are gone must not pile up; one that was begun anew meanwhile stays."""
    redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex}")
    store = RedisStore(redis, keys)
    await store.merge([Delta(f"acc:{i}", {"s1": 1.0}) for i in range(250)])
    assert 0 < await redis.ttl(keys.record("acc:0")) <= RECORD_EXPIRY_S
    await redis.delete(*(keys.record(f"acc:{i}") for i in range(240)))
    changes = await store.changes(Cursor())
    assert len(changes.records) == 10
    assert changes.complete
    assert await redis.zcard(keys.index) == 10
    await store._prune(keys=[keys.index, keys.record("acc:249")], args=["acc:249"])
    assert await redis.zcard(keys.index) == 10
    await redis.aclose()


async def test_what_several_routers_tell_of_is_logged_once(store: Store) -> None:
    """The first one's words stand, and it alone hears that it was first; the next epoch is another event."""
    first, second = (Event("drift", "acc:a", at_s, f"fell at {at_s}", "acc:a@0") for at_s in (1.0, 2.0))
    later = Event("drift", "acc:a", 3.0, "fell again", "acc:a@1")
    stale = Event("drafter_stale", "d", 3.0, "of another kind", "acc:a@0")
    assert await store.emit([first]) == [first]
    assert await store.emit([second, later, stale]) == [later, stale]
    assert [one.event.detail for one in await store.logged(9)] == [stale.detail, later.detail, first.detail]


async def test_events_of_one_router_are_all_logged_and_none_twice(store: Store) -> None:
    """Two that look alike are two; a batch whose answer was lost is sent again, and is told that it was first."""
    events = [Event("engine_marked", "r", 1.0, "drained by ana")] * 2 + [Event("drift", "a", 1.0, "fell", "a@0")]
    for _ in range(2):
        assert await store.emit(events, "batch") == events
    assert len(await store.logged(9)) == 3
    assert await store.emit(events[:1]) == events[:1]
    assert len(await store.logged(9)) == 4


async def test_a_store_that_is_away_says_so() -> None:
    """A Redis that cannot be reached is a StoreError at once, not a hang."""
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.5)
    with pytest.raises(StoreError):
        await RedisStore(redis, Keys()).merge([Delta("acc:a", {"s1": 1.0})])
    await redis.aclose()


def _heartbeat(replica: str, **facts: object) -> Heartbeat:
    return Heartbeat.model_validate(
        {"replica": replica, "pool": "p", "model": "m", "target": "t", "url": "http://127.0.0.1:1", **facts}
    )


async def test_a_replica_is_seen_until_its_time_runs_out(registry: Registry) -> None:
    """Announced replicas are listed with all they said; one that stops announcing is gone after its time to live."""
    await registry.announce(_heartbeat("a", running=3, api_key="k"), ttl_s=30)
    await registry.announce(_heartbeat("b"), ttl_s=0.05)
    await _until(lambda names: names == {"a"}, registry)
    (seen,) = await registry.replicas()
    assert seen == _heartbeat("a", running=3, api_key="k")


async def test_a_withdrawn_replica_is_gone_at_once(registry: Registry) -> None:
    """A replica that drains takes itself off the list."""
    await registry.announce(_heartbeat("a"), ttl_s=30)
    await registry.withdraw("a")
    assert await registry.replicas() == []


async def test_the_last_announcement_counts(registry: Registry) -> None:
    """A new heartbeat replaces the one before."""
    await registry.announce(_heartbeat("a", running=1), ttl_s=30)
    await registry.announce(_heartbeat("a", running=2), ttl_s=30)
    assert [heartbeat.running for heartbeat in await registry.replicas()] == [2]


async def test_a_replica_hears_once_that_it_is_to_reload(registry: Registry) -> None:
    """With its next announcement, and no other replica of the same turn is asked meanwhile."""
    assert not await registry.announce(_heartbeat("a"), ttl_s=30)
    assert await registry.ask_reload("a", "demo", ttl_s=30)
    assert not await registry.ask_reload("b", "demo", ttl_s=30)
    assert await registry.ask_reload("c", "", ttl_s=30)
    assert [await registry.announce(_heartbeat(name), ttl_s=30) for name in "abca"] == [True, False, True, False]


async def test_what_nobody_heard_in_time_is_not_done_later(registry: Registry) -> None:
    """A replica that was silent does not restart minutes after it was asked; the turn is over then too."""
    await registry.ask_reload("a", "demo", ttl_s=0.05)
    deadline = time.monotonic() + 10
    while not await registry.ask_reload("b", "demo", ttl_s=0.05):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert not await registry.announce(_heartbeat("a"), ttl_s=30)


async def _until(good: Callable[[set[str]], bool], registry: Registry) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    while not good({heartbeat.replica for heartbeat in await registry.replicas()}):
        assert asyncio.get_running_loop().time() < deadline, "the replica was not dropped in 5 s"
        await asyncio.sleep(0.01)
