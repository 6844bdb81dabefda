"""One drift is one event, however many routers notice it; each of them goes by it at once."""

import random
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from policies.choice import Choice, Reason
from policies.document import Document
from policies.knowledge import Knowledge
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.replica import Pool, Replica
from policies.request import Request
from router.observe.telemetry import Telemetry
from router.state.redis_store import Keys, RedisStore, connect
from router.state.store import Cursor, MemoryRegistry, MemoryStore, Store, StoreError
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet
from router.traffic.sharing import Sharing

ADAPTIVE = POLICIES["adaptive"]
SPEC = Pool("spec", "m", "t@1", "d@1", "draft_model", 4)
REQUEST = Request("m", "translation", temperature=0)
STEPS = 40


class Router:
    """What a router learns with and keeps in step, without the rest of it."""

    def __init__(self, store: Store, seed: int) -> None:
        self.knowledge, self.telemetry, self.rng = Knowledge(Document()), Telemetry(), random.Random(seed)
        registry, fleet = MemoryRegistry(time.monotonic), Fleet(time.time, 5.0, Tolerance(3, 1.0, 10.0))
        self.sharing = Sharing(store, registry, self.knowledge, fleet, self.telemetry, time.time)

    @property
    def key(self) -> str:
        """The acceptance record that all answers here are about."""
        return self.knowledge.acceptance_key(REQUEST, SPEC, time.time())

    def teach(self, h: float) -> list[str]:
        """One answer with acceptance h, of which half of the batch was this router's; the events it raised."""
        accepted = []
        for _ in range(STEPS):
            j = 0
            while j < SPEC.k_max and self.rng.random() < h:
                j += 1
            accepted.append(j)
        choice = Choice(Replica("s0", SPEC), SPEC.k_max, Reason.FASTEST, self.key, 5e-3, 5e-3)
        drafted, tokens = (SPEC.k_max,) * STEPS, 1 + STEPS + sum(accepted)
        outcome = Outcome(REQUEST, choice, tokens, 0.5, 0.1, drafted, tuple(accepted), 2.0, 4, 4, known=0.5)
        lesson = ADAPTIVE.learn(outcome, self.knowledge, time.time())
        self.sharing.learn(lesson)
        return [event.kind for event in lesson.events]

    def counted(self) -> float:
        """Drifts that its metrics have."""
        value: float = self.telemetry.events.labels("drift")._value.get()
        return value


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Each implementation, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    redis = connect(request.getfixturevalue("redis_url"), timeout_s=5)
    yield RedisStore(redis, Keys(f"test-{uuid.uuid4().hex}"))
    await redis.aclose()


async def in_step(routers: list[Router]) -> None:
    """Everybody writes, then everybody reads."""
    for router in routers * 2:
        await router.sharing.exchange()


async def drifts(store: Store) -> int:
    """Drift events in the log."""
    return sum(one.event.kind == "drift" for one in await store.logged(100))


async def collapsed(store: Store) -> list[Router]:
    """Two routers that know a task well and each notice its collapse before they hear of each other."""
    routers = [Router(store, seed) for seed in (1, 2)]
    for _ in range(20):
        for router in routers:
            router.teach(0.75)
        await in_step(routers)
    for router in routers:
        assert any("drift" in router.teach(0.3) for _ in range(15)), "the collapse was not noticed"
    return routers


async def test_one_collapse_is_one_event_of_two_routers(store: Store) -> None:
    """Both react at once; the log and the metrics have one drift, and the record is shrunk and granted probes once."""
    routers = await collapsed(store)
    assert all(router.knowledge.record(router.key).epoch == 1 for router in routers)
    await in_step(routers)
    assert await drifts(store) == 1
    assert sum(router.counted() for router in routers) == 1
    record = (await store.changes(Cursor())).records[routers[0].key]
    assert (record.epoch, record.fields["+boost"]) == (1, 20.0)
    for _ in range(20):
        assert not [kind for router in routers for kind in router.teach(0.3) if kind == "drift"]
        await in_step(routers)
    assert await drifts(store) == 1


async def test_the_next_collapse_is_the_next_event(store: Store) -> None:
    """What was told is the drift of one epoch, not of a task for good."""
    routers = await collapsed(store)
    for h in (0.3, 0.85):
        assert await drifts(store) <= 1
        for _ in range(20):
            for router in routers:
                router.teach(h)
            await in_step(routers)
    assert await drifts(store) == 2


async def test_an_event_whose_answer_was_lost_is_told_and_counted_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is sent again under its name: the log has one, and so have the metrics."""
    first, second = await collapsed(store)
    emit, answers = store.emit, [StoreError("the answer was lost")]

    async def lossy(*args: object) -> object:
        told = await emit(*args)  # type: ignore[arg-type]
        if answers:
            raise answers.pop()
        return told

    monkeypatch.setattr(store, "emit", lossy)
    for router in (first, second, first):
        await router.sharing.exchange()
    assert not answers
    assert await drifts(store) == 1
    assert (first.counted(), second.counted()) == (1, 0)
