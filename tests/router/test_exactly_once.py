"""Whatever is lost on the way, and in whatever order routers act: each delta counts once.

But for two faults at a time. An answer is lost and, before the batch is sent again, the data too: another router may
have read the batch or not, and its writer cannot know. Or the data is lost again before every router has read what was
given back.
"""

import asyncio
import copy
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.document import Document
from policies.event import Event
from policies.knowledge import Knowledge
from policies.learning import Lesson
from policies.records import Delta
from router.observe.telemetry import Telemetry
from router.state.redis_store import Keys, RedisStore, connect
from router.state.store import Changes, Copies, Cursor, Logged, MemoryRegistry, MemoryStore, Restored, Store, StoreError
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet
from router.traffic.sharing import Sharing

KEYS = ("task:a", "task:b")
ROUTERS = 3
ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            ("learn", "exchange", "exchange", "exchange", "wipe", "lose_write", "lose_restore", "fail_read")
        ),
        st.integers(0, ROUTERS - 1),
        st.sampled_from(KEYS),
    ),
    max_size=40,
)


ROLLED_BACK = st.lists(
    st.tuples(
        st.sampled_from(("learn", "exchange", "exchange", "exchange", "save", "roll_back", "lose_write", "fail_read")),
        st.integers(0, ROUTERS - 1),
        st.sampled_from(KEYS),
    ),
    max_size=40,
)


@dataclass
class Lossy:
    """A router's connection to a store: an answer, or a request, may be lost."""

    store: Store
    lost: set[str] = field(default_factory=set)

    async def position(self) -> Cursor:
        """See Store; the connection was broken."""
        self._lose("connection")
        return await self.store.position()

    async def merge(self, deltas: Sequence[Delta], batch: str = "", generation: str = "") -> Sequence[int]:
        """See Store; done, and its answer lost."""
        versions = await self.store.merge(deltas, batch, generation)
        self._lose("lose_write")
        return versions

    async def changes(self, cursor: Cursor) -> Changes:
        """See Store; the request lost."""
        self._lose("fail_read")
        return await self.store.changes(cursor)

    async def restore(self, copies: Copies, generation: str) -> Restored:
        """See Store; done, and its answer lost."""
        restored = await self.store.restore(copies, generation)
        self._lose("lose_restore")
        return restored

    async def emit(self, events: Sequence[Event], batch: str = "") -> Sequence[Event]:
        """See Store; done, and its answer lost."""
        told = await self.store.emit(events, batch)
        self._lose("lose_emit")
        return told

    async def logged(self, count: int, before: str = "") -> Sequence[Logged]:
        """See Store."""
        return await self.store.logged(count, before)

    def _lose(self, what: str) -> None:
        if what in self.lost:
            self.lost.remove(what)
            raise StoreError(what)


class Router:
    """What a router keeps in step, without the rest of it."""

    def __init__(self, store: Store) -> None:
        self.link = Lossy(store)
        self.knowledge = Knowledge(Document())
        registry, fleet = MemoryRegistry(time.monotonic), Fleet(time.time, 5.0, Tolerance(3, 1.0, 10.0))
        self.sharing = Sharing(self.link, registry, self.knowledge, fleet, Telemetry(), time.time)

    def learn(self, key: str) -> None:
        """One observation without decay."""
        self.sharing.learn(Lesson((Delta(key, {"n": 1.0}),), ()))


async def is_calm(store: Store, routers: Sequence[Router], *, was_lost: bool) -> bool:
    """Whether the data may be lost: no batch is in doubt and, after a loss, every router has read all there is."""
    now = await store.position()
    cursors = [router.sharing._cursor for router in routers]
    return all(r.sharing._sending is None for r in routers) and (not was_lost or set(cursors) <= {Cursor(), now})


async def play(
    store: Store, acts: Sequence[tuple[str, int, str]], harms: Mapping[str, Callable[[], Awaitable[None]]]
) -> None:
    """Do all of it, let every router finish, and compare the store and each copy with what was learnt.

    A server that takes over from another breaks every router's connection.
    """
    routers = [Router(store) for _ in range(ROUTERS)]
    learnt, was_lost = dict.fromkeys(KEYS, 0.0), False
    for act, who, key in acts:
        router = routers[who]
        if act == "learn":
            learnt[key] += 1
            router.learn(key)
        elif act == "exchange":
            await router.sharing.exchange()
        elif act == "wipe":
            if await is_calm(store, routers, was_lost=was_lost):
                await harms["wipe"]()
                was_lost = True
        elif act in harms:
            await harms[act]()
            if act == "roll_back":
                for each in routers:
                    each.link.lost.add("connection")
        else:
            router.link.lost.add(act)
    for router in routers * 4:
        router.link.lost &= {"connection"}
        await router.sharing.exchange()
    records = (await store.changes(Cursor())).records
    held = {key: records[key].fields["n"] if key in records else 0.0 for key in KEYS}
    assert held == learnt, repr(acts)
    for router in routers:
        assert {key: router.knowledge.record(key).fields.get("n", 0.0) for key in KEYS} == learnt


@settings(max_examples=400, deadline=None)
@given(acts=ROLLED_BACK)
def test_what_a_server_that_took_over_never_had_counts_once(acts: list[tuple[str, int, str]]) -> None:
    """A replica, or a file, may lack the last acknowledged writes: they are written again, and the others are not."""
    store = MemoryStore()
    kept = copy.deepcopy(vars(store))

    async def save() -> None:
        kept.update(copy.deepcopy(vars(store)))

    async def roll_back() -> None:
        vars(store).update(copy.deepcopy(kept))

    asyncio.run(play(store, acts, {"save": save, "roll_back": roll_back}))


@settings(max_examples=400, deadline=None)
@given(acts=ACTS)
def test_each_delta_counts_once_in_memory(acts: list[tuple[str, int, str]]) -> None:
    """Three routers over the in-memory store."""
    store = MemoryStore()

    async def wipe() -> None:
        store.wipe()

    asyncio.run(play(store, acts, {"wipe": wipe}))


@pytest.mark.redis
@settings(max_examples=60, deadline=None)
@given(acts=ACTS)
def test_each_delta_counts_once_in_redis(redis_url: str, acts: list[tuple[str, int, str]]) -> None:
    """The same over Redis and its scripts."""

    async def run() -> None:
        redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex}")

        async def wipe() -> None:
            if names := await redis.keys(f"{{{keys.prefix}}}*"):
                await redis.delete(*names)

        try:
            await play(RedisStore(redis, keys), acts, {"wipe": wipe})
        finally:
            await redis.aclose()

    asyncio.run(run())
