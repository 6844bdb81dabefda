"""The parts of the Admin API one by one: acceptance over time, overview, events, and marks over Redis."""

import math
import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import CHAT, DRAFT, VANILLA, Service, running_service, settings_with, simulator

from policies.event import Event
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.records import Delta, Record
from router.admin.belief import beliefs, wilson
from router.admin.overview import totals
from router.admin.redis_trend import RedisTrend
from router.admin.trend import KEPT_S, SLOT_S, MemoryTrend, Trend, TrendStore, thinned
from router.admin.wiring import AdminStores
from router.state.redis_marks import RedisMarks
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore, connect
from router.state.store import MemoryStore, Store

NAME = Key("demo@1", "small", "sql_generation", "default", "0").encode()


def _record(held: float, exposed: float) -> Record:
    return Record({"s1": held, "e1": exposed, "n": exposed / 10}, 100.0)


@given(st.floats(0, 1), st.floats(1, 1e6))
def test_an_interval_holds_its_share(share: float, n: float) -> None:
    """Inside 0–1, around the share, narrower with more seen."""
    low, high = wilson(share, n)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    wider = wilson(share, n / 4)
    assert high - low <= wider[1] - wider[0] + 1e-9


def test_wilson_is_wilson() -> None:
    """8 of 10 at 90 %: (0.541, 0.931), by the closed form."""
    low, high = wilson(0.8, 10)
    assert math.isclose(low, 0.5408, abs_tol=1e-3)
    assert math.isclose(high, 0.9314, abs_tol=1e-3)


def test_what_was_never_seen_is_no_row() -> None:
    """A record without a draft has no acceptance; one of impossible sums has one of at most 1."""
    assert beliefs({NAME: _record(0, 0.5), "task:demo|x|y": _record(1, 9)}) == {}
    (found,) = beliefs({NAME: _record(30, 20)}).values()
    assert found.alpha == 1.0
    assert found.survival == (1.0,)
    assert found.survival_intervals[0][1] == 1.0


@pytest.fixture(params=["memory", "redis"])
async def trends(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[TrendStore]:
    """Each implementation."""
    if request.param == "memory":
        yield MemoryTrend()
        return
    redis = connect(redis_url, timeout_s=5)
    yield RedisTrend(redis, Keys(f"test-{uuid.uuid4().hex[:8]}"))
    await redis.aclose()


async def test_acceptance_over_time(trends: TrendStore) -> None:
    """A point for each minute in which a record changed; of two routers the first; nothing beyond what is kept."""
    now_s = 1_000_000.0 // SLOT_S * SLOT_S
    clock = [now_s]
    one, two = (Trend(trends, Knowledge(), lambda: clock[0]) for _ in range(2))
    one.knowledge.install({NAME: _record(8, 10)}, now_s)
    two.knowledge.install({NAME: _record(1, 10)}, now_s)
    await one.write()
    await two.write()
    clock[0] += SLOT_S
    one.knowledge.install({NAME: _record(8, 10)}, now_s)  # as each exchange with Redis does
    await one.write()  # nothing changed
    clock[0] += SLOT_S
    one.knowledge.absorb([Delta(NAME, {"s1": 1.0, "e1": 10.0})], clock[0])
    await one.write()
    (points,) = (await two.since([NAME, "acc:none"], 0, 99)).values()
    assert [point.at_s for point in points] == [now_s, now_s + 2 * SLOT_S]
    assert points[0].alpha == pytest.approx(0.8)
    assert points[1].alpha == pytest.approx(9 / 20, abs=1e-3)
    assert points[0].low < 0.8 < points[0].high
    assert len((await two.since([NAME], now_s + SLOT_S, 99))[NAME]) == 1
    clock[0] += KEPT_S
    assert await two.since([NAME], 0, 99) == {}


@given(st.integers(0, 900), st.integers(2, 50))
def test_a_series_is_thinned_evenly(count: int, most: int) -> None:
    """No more than asked, in order, with the newest, and the oldest where some were left out."""
    found = thinned(range(count), most)
    assert list(found) == sorted(set(found))
    assert len(found) == min(count, most)
    assert [*found][-1:] == [*range(count)][-1:]
    assert [*found][:1] == [*range(count)][:1]


PAGES = {
    "a": """# HELP alpharoute_decisions_total Choices made.
# TYPE alpharoute_decisions_total counter
alpharoute_decisions_total{task="sql",pool="draft",k="4",reason="fastest"} 3.0
# HELP alpharoute_requests_total x
# TYPE alpharoute_requests_total counter
alpharoute_requests_total{route="/v1/chat/completions",model="m",task="sql",status="200"} 3.0
alpharoute_requests_total{route="/v1/chat/completions",model="m",task="sql",status="502"} 1.0
alpharoute_requests_total{route="/health",model="",task="",status="200"} 90.0
# HELP alpharoute_compared_output_tokens_total x
# TYPE alpharoute_compared_output_tokens_total counter
alpharoute_compared_output_tokens_total{task="sql"} 100.0
# HELP alpharoute_compared_generation_seconds_total x
# TYPE alpharoute_compared_generation_seconds_total counter
alpharoute_compared_generation_seconds_total{task="sql"} 1.0
# HELP alpharoute_compared_vanilla_seconds_total x
# TYPE alpharoute_compared_vanilla_seconds_total counter
alpharoute_compared_vanilla_seconds_total{task="sql"} 2.5
# HELP alpharoute_proposed_drafts_total x
# TYPE alpharoute_proposed_drafts_total counter
alpharoute_proposed_drafts_total{drafter="d",task="sql"} 40.0
# HELP alpharoute_accepted_drafts_total x
# TYPE alpharoute_accepted_drafts_total counter
alpharoute_accepted_drafts_total{drafter="d",task="sql"} 30.0
# HELP alpharoute_redis_up x
# TYPE alpharoute_redis_up gauge
alpharoute_redis_up 1.0
""",
    "b": """# HELP alpharoute_decisions_total Choices made.
# TYPE alpharoute_decisions_total counter
alpharoute_decisions_total{task="sql",pool="vanilla",k="0",reason="guard"} 1.0
# HELP alpharoute_queued_requests x
# TYPE alpharoute_queued_requests gauge
alpharoute_queued_requests{pool="draft"} 2.0
# HELP alpharoute_redis_up x
# TYPE alpharoute_redis_up gauge
alpharoute_redis_up 0.0
# HELP alpharoute_knowledge_age_seconds x
# TYPE alpharoute_knowledge_age_seconds gauge
alpharoute_knowledge_age_seconds 7.5
""",
}


def test_the_overview_adds_routers_up() -> None:
    """Totals of all of them; what one of them lacks is said."""
    found = totals(PAGES, 5.0)
    assert (found.routers, found.requests, found.failed, found.k) == (2, 4, 1, {"0": 1, "4": 3})
    assert found.reasons == {"fastest": 3, "guard": 1}
    assert (found.redis_up, found.knowledge_age_s) == (False, 7.5)
    (task,) = found.tasks
    assert (task.decisions, task.speculative, task.output_tokens, task.saved_s) == (4, 3, 100, 1.5)
    assert (task.proposed, task.accepted) == (40, 30)
    assert {pool.pool: (pool.decisions, pool.queued) for pool in found.pools} == {"draft": (3, 2), "vanilla": (1, 0)}


async def test_the_overview_of_a_service(service: Service) -> None:
    """What was asked is counted."""
    async with service.session.post("/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 200
        await answer.read()
    async with service.session.get("/admin/v1/overview") as answer:
        said = await answer.json()
    assert (said["requests"], said["failed"], said["routers"], said["redis_up"]) == (1, 0, 1, True)
    assert said["tasks"][0]["decisions"] == 1


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Store]:
    """Each implementation."""
    if request.param == "memory":
        yield MemoryStore()
        return
    redis = connect(redis_url, timeout_s=5)
    yield RedisStore(redis, Keys(f"test-{uuid.uuid4().hex[:8]}"))
    await redis.aclose()


async def test_the_log_of_events_is_read_by_pages(store: Store) -> None:
    """Newest first; the next page goes on from the last id."""
    assert await store.logged(5) == []
    await store.emit([Event("drift", f"s{i}", float(i), "x") for i in range(7)])
    first = await store.logged(4)
    rest = await store.logged(4, first[-1].id)
    assert [one.event.subject for one in [*first, *rest]] == [f"s{i}" for i in range(6, -1, -1)]
    assert first[0].event == Event("drift", "s6", 6.0, "x")


async def test_events_are_found(service: Service) -> None:
    """By kind, subject, time and page."""
    events = [Event("drift", f"small/t{i}", float(i), "x") for i in range(30)]
    await service.store.emit([*events, Event("replica_slow", "draft-1", 99.0, "y")])

    async def subjects(query: str) -> list[str]:
        async with service.session.get(f"/admin/v1/events?{query}") as answer:
            return [one["subject"] for one in (await answer.json())["events"]]

    assert await subjects("kind=replica_slow") == ["draft-1"]
    assert await subjects("subject=small/t7") == ["small/t7"]
    assert await subjects("since_s=98") == ["draft-1"]
    assert await subjects("limit=2") == ["draft-1", "small/t29"]


async def test_a_drained_engine_gets_nothing_from_any_router_within_a_second(redis_url: str) -> None:
    """One router is told, another one follows through Redis; heartbeats do not undo it, uncordon does."""
    redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex[:8]}")
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    settings = settings_with(router={"sync_s": 0.2})  # as it is by default
    store, registry = RedisStore(redis, keys), RedisRegistry(redis, keys)
    shared = [AdminStores(marks=RedisMarks(redis, keys)) for _ in range(2)]
    async with (
        running_service(settings, engines, store=store, registry=registry, shared=shared[0]) as one,
        running_service(settings, {}, store=store, registry=registry, shared=shared[1]) as two,
    ):

        def receives(service: Service) -> bool:
            return any(r.name == "draft-1" and r.state == "ready" for r in service.ingress.fleet.replicas("demo"))

        await two.until(lambda: receives(two))
        async with one.session.post("/admin/v1/engines/draft-1/drain", json={}) as answer:
            assert (answer.status, (await answer.json())["receives"]) == (200, False)
        assert not receives(one)
        await two.until(lambda: not receives(two), limit_s=5)  # not 1: the machine may stand still meanwhile
        await one.announce("draft-1")
        heard = two.ingress.fleet.heartbeats()[0].clock_s
        await two.until(lambda: two.ingress.fleet.heartbeats()[0].clock_s > heard)
        assert not receives(two)
        async with two.session.post("/v1/chat/completions", json=CHAT) as answer:
            assert answer.headers["x-alpharoute-replica"] == "vanilla-1"
            await answer.read()
        async with two.session.post("/admin/v1/engines/draft-1/uncordon", json={}) as answer:
            assert (await answer.json())["receives"]
        await one.until(lambda: receives(one), limit_s=5)
    await redis.aclose()
