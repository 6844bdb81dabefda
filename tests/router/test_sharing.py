"""The loop: what requests teach reaches the store, every router sees it within a second, and Redis may be away."""

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from redis import Redis
from service import CHAT, DRAFT, VANILLA, Service, running_service, settings_with, simulator

from engines.registry import TRYING_AGAIN, Heartbeat
from policies.choice import Choice
from policies.knowledge import Knowledge
from policies.learning import TASK_HALF_LIFE_REQUESTS
from policies.records import Delta
from policies.request import Request
from router.config.redis_url import parse_address
from router.config.settings import Settings
from router.local.embedded_redis import EmbeddedRedis
from router.observe.telemetry import Telemetry
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore, connect
from router.state.store import Changes, Cursor, MemoryRegistry, MemoryStore, Store, StoreError
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet
from router.traffic.sharing import Sharing

T = TypeVar("T")
TASK = "sql_generation"
TOKENS = 40
ASKED = {**CHAT, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
ON = {"x-alpharoute-speculation": "on", "x-alpharoute-task": TASK}


@pytest.fixture
def settings() -> Settings:
    """Decisions without chance in them."""
    return settings_with(policy={"exploration": {"enabled": False}, "guard": {"enabled": False}})


async def ask(service: Service, times: int = 1) -> None:
    """Send requests that speculate; each is answered, and soon."""
    for _ in range(times):
        async with asyncio.timeout(10), service.session.post("/v1/chat/completions", json=ASKED, headers=ON) as got:
            assert got.status == 200, await got.text()
            await got.read()


async def is_ready(service: Service) -> bool:
    """What a probe would see."""
    async with service.session.get("/ready") as got:
        return got.status == 200


async def finished(store: Store) -> float:
    """Requests of the task that the store has heard of, decayed."""
    records = (await store.changes(Cursor())).records
    answers = [r.fields for key, r in records.items() if key.startswith("task:") and TASK in key]
    return sum(fields["tokens"] for fields in answers) / TOKENS


async def until_finished(store: Store, requests: int, limit_s: float = 10) -> None:
    """Wait until the store holds this many, less what has decayed meanwhile, and no more."""
    expected = sum(2 ** (-i / TASK_HALF_LIFE_REQUESTS) for i in range(requests))
    deadline, held = time.monotonic() + limit_s, 0.0
    while abs(held - expected) > 0.1:
        assert time.monotonic() < deadline, f"the store holds {held} of {expected}"
        await asyncio.sleep(0.02)
        with contextlib.suppress(StoreError):
            held = await finished(store)


def held_by(service: Service) -> dict[str, tuple[float, ...]]:
    """The records of a router as figures."""
    return {key: tuple(record.fields.values()) for key, record in service.ingress.pilot.knowledge.records.items()}


def decision(service: Service) -> tuple[str, int, float]:
    """What a router would do now with a request of the task."""
    request, pilot = Request("demo", task=TASK, temperature=0), service.ingress.pilot
    choice: Choice = service.ingress.dispatch._decide(request, (), pilot.deciding(request, ""))
    return choice.pool, choice.k, choice.u_s


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Each implementation, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    redis = connect(request.getfixturevalue("redis_url"), timeout_s=5)
    yield RedisStore(redis, Keys(f"test-{uuid.uuid4().hex}"))
    await redis.aclose()


async def test_two_routers_learn_from_each_other(settings: Settings, store: Store) -> None:
    """What one router's requests teach, the other decides by."""
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    registry = MemoryRegistry(time.monotonic)
    async with (
        running_service(settings, engines, store=store, registry=registry) as first,
        running_service(settings, {}, store=store, registry=registry) as second,
    ):
        await second.until(lambda: len(second.ingress.fleet.heartbeats()) == 2)
        before = decision(second)
        await ask(first, 30)
        await second.until(lambda: held_by(second) == held_by(first) != {})
        # Step times are fitted anew every half second.
        await second.until(lambda: decision(second)[2] == pytest.approx(decision(first)[2], rel=0.01))
        assert decision(second)[:2] == decision(first)[:2]
        assert decision(second) != before
        await until_finished(store, 30)


class FailingStore(MemoryStore):
    """A store that raises what it is told: when it is read, or once it has written."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.away = False
        self.lost_answers = 0

    async def position(self) -> Cursor:
        """See Store."""
        if self.away:
            raise StoreError("away")
        return await super().position()

    async def merge(
        self, deltas: Sequence[Delta], batch: str = "", generation: str = "", now_s: float = 0.0
    ) -> Sequence[int]:
        """See Store."""
        versions = await super().merge(deltas, batch, generation, now_s)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreError("the answer was lost")
        return versions

    async def changes(self, cursor: Cursor) -> Changes:
        """See Store."""
        if self.failure is not None:
            raise self.failure
        return await super().changes(cursor)


class CountingStore(MemoryStore):
    """A store that counts how often its records are asked for."""

    reads = 0

    async def changes(self, cursor: Cursor) -> Changes:
        """See Store."""
        self.reads += 1
        return await super().changes(cursor)


async def test_a_store_that_makes_no_sense_does_not_end_the_loop(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Records of another version, or garbage, are said once; engines are still seen, and the loop goes on."""
    store = FailingStore()
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    store.failure = ValueError("could not convert string to float: 'x'")
    async with running_service(settings, engines, store=store) as service:
        await ask(service, 3)
        await service.until(lambda: service.metric("redis_errors_total") > 3)
        assert await is_ready(service)
        assert [record.message for record in caplog.records if record.name == "alpharoute.sharing"] == [
            "Redis holds what cannot be read: ValueError: could not convert string to float: 'x'"
        ]
        store.failure = None
        await until_finished(store, 3)


async def test_a_store_in_which_nothing_changed_is_not_read(settings: Settings) -> None:
    """An idle router asks where the store is, and no more; what another writes it reads with the next exchange."""
    store, knowledge = CountingStore(), Knowledge(settings.policy)
    fleet = Fleet(time.time, 5.0, Tolerance())
    sharing = Sharing(store, MemoryRegistry(time.monotonic), knowledge, fleet, Telemetry(), time.time)
    for _ in range(5):
        await sharing.exchange()
    assert store.reads == 1
    await store.merge([Delta("task:a", {"n": 1.0})])
    for _ in range(5):
        await sharing.exchange()
    assert store.reads == 2
    assert knowledge.record("task:a").fields == {"n": 1.0}


async def test_a_write_whose_answer_was_lost_counts_once(settings: Settings) -> None:
    """The store did what it was told and could not say so: the same batch is sent again, and is known."""
    store = FailingStore()
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    async with running_service(settings, engines, store=store) as service:
        for total in (3, 6, 9):
            store.lost_answers = 2
            await ask(service, 3)
            await service.until(lambda: not store.lost_answers)
            await until_finished(store, total)


async def test_a_named_batch_counts_once(store: Store) -> None:
    """In every implementation; the same deltas under another name count again."""
    deltas = [Delta("acc:a", {"s1": 1.0}), Delta("acc:b", {"s1": 2.0})]
    for name in ("x", "x", "y"):
        await store.merge(deltas, name)
    records = (await store.changes(Cursor())).records
    assert [records[key].fields["s1"] for key in ("acc:a", "acc:b")] == [2.0, 4.0]


def beat(replica: str) -> Heartbeat:
    """A vanilla engine that nobody asks."""
    return Heartbeat(replica=replica, pool="vanilla", model="demo", target="sim", url=f"http://{replica}", clock_s=1.0)


async def test_a_router_that_starts_while_the_store_is_away_hears_of_engines_from_themselves() -> None:
    """It joins with those that answer; one that does not answer a later call stays until the registry is read."""
    store, registry, present = FailingStore(), MemoryRegistry(time.monotonic), list[Heartbeat]()

    async def roll_call() -> list[Heartbeat]:
        return present

    store.away = True
    fleet = Fleet(time.time, 0, Tolerance())
    knowledge, telemetry = Knowledge(settings_with().policy), Telemetry()
    sharing = Sharing(store, registry, knowledge, fleet, telemetry, time.time, roll_call=roll_call)
    await sharing.exchange()
    assert not sharing.heard.is_set(), "nobody has answered: it would answer 503"
    for present in ([beat("a"), beat("b")], [beat("b")], []):  # noqa: B007 — what the call returns from now on
        await sharing.exchange()
        assert [one.replica for one in fleet.heartbeats()] == ["a", "b"]
        assert sharing.heard.is_set()
    store.away = False
    await registry.announce(beat("b"), ttl_s=60)
    deadline = time.monotonic() + 5
    while [one.replica for one in fleet.heartbeats()] != ["b"]:
        assert time.monotonic() < deadline, "the registry is what counts when it can be read"
        await sharing.exchange()


async def test_a_pool_without_a_replica_is_told_of(settings: Settings) -> None:
    """The alarm of an empty pool compares a figure with 0: if it vanished with the pool, it would be silent."""
    async with running_service(settings, {"vanilla-1": simulator(VANILLA)}) as service:
        await service.until(lambda: service.metric("engine_replicas", pool="vanilla", state="ready") == 1)
        assert service.metric("engine_replicas", pool="draft", state="ready") == 0


async def test_what_a_failed_server_said_is_for_operators(settings: Settings) -> None:
    """/ready needs no key: it says that a server is tried again, not the words it failed with."""
    async with running_service(settings, {"vanilla-1": simulator(VANILLA)}) as service:
        await service.announce("vanilla-1", state="starting", phase=f"{TRYING_AGAIN}: 500: secret-project")
        beats = service.ingress.fleet.heartbeats
        await service.until(lambda: [beat.state for beat in beats()] == ["starting"])
        async with service.session.get("/ready") as got:
            said = await got.text()
        assert f'"phase":"{TRYING_AGAIN}"' in said
        assert "secret-project" not in said
        async with service.session.get("/admin/v1/engines") as got:
            assert "secret-project" in await got.text()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A redis-server that the test may harm, with its data in a folder that the test knows."""
    with EmbeddedRedis(tmp_path / "redis") as redis:
        yield redis


async def end(service: Service, redis: EmbeddedRedis) -> None:
    """Kill it, and wait until the router has noticed."""
    assert redis.pid is not None
    os.kill(redis.pid, signal.SIGKILL)
    await service.until(lambda: service.metric("redis_up") == 0)


async def come_back(service: Service, redis: EmbeddedRedis) -> None:
    """Start it again with what is in its folder, and wait until the router has been in touch."""
    await service.until(redis.revive)
    await service.until(lambda: service.metric("redis_up") == 1)


def files(redis: EmbeddedRedis) -> list[Path]:
    """Where it keeps its data."""
    assert redis.directory is not None
    return [path for path in redis.directory.rglob("*") if path.is_file() and path.suffix != ".log"]


@contextlib.asynccontextmanager
async def over(redis_url: str, settings: Settings, timeout_s: float) -> AsyncIterator[tuple[Service, RedisStore]]:
    """A router whose store and registry are this Redis."""
    client, keys = connect(redis_url, timeout_s=timeout_s), Keys()
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    store = RedisStore(client, keys)
    try:
        async with running_service(settings, engines, store=store, registry=RedisRegistry(client, keys)) as service:
            yield service, store
    finally:
        await client.aclose()


async def past_broken(act: Callable[[], Awaitable[T]]) -> T:
    """What comes of it on a connection that was not broken: each one that was fails once."""
    for _ in range(20):
        with contextlib.suppress(StoreError):
            return await act()
    return await act()


async def announce_all(service: Service) -> None:
    """What engines do twice a second."""
    for name in service.engines:
        await past_broken(partial(service.announce, name))


@pytest.mark.redis
async def test_redis_may_end_and_come_back_empty(
    own_redis: EmbeddedRedis, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """No request fails, readiness stays, one line is logged, and an empty Redis is filled with all that was learnt."""
    async with over(own_redis.url, settings, timeout_s=5) as (service, store):
        await ask(service, 5)
        await until_finished(store, 5)
        await service.until(lambda: service.ingress.recorder.sharing._cursor.version > 0)
        await end(service, own_redis)
        await ask(service, 5)
        assert await is_ready(service)
        await service.until(lambda: service.metric("redis_errors_total") > 3)
        said = [record.message for record in caplog.records if record.name == "alpharoute.sharing"]
        assert len(said) == 1
        assert said[0].startswith("Redis is away")
        before = decision(service)
        for path in files(own_redis):
            path.unlink()
        await come_back(service, own_redis)
        await until_finished(store, 10)
        assert await is_ready(service), "the registry is empty, but the engines are still there"
        await announce_all(service)
        await ask(service, 5)
        await until_finished(store, 15)
        assert decision(service)[:2] == before[:2]


@pytest.mark.redis
async def test_redis_that_is_killed_has_all_it_acknowledged(own_redis: EmbeddedRedis, settings: Settings) -> None:
    """Every time; what was learnt meanwhile is added once."""
    async with over(own_redis.url, settings, timeout_s=5) as (service, store):
        for total in (4, 8):
            await ask(service, 2)
            await until_finished(store, total - 2)
            before = await past_broken(store.position)
            await end(service, own_redis)
            await ask(service, 2)
            await come_back(service, own_redis)
            assert (await past_broken(store.position)).generation == before.generation
            await until_finished(store, total)


@pytest.mark.redis
async def test_redis_may_come_back_without_its_last_writes(own_redis: EmbeddedRedis, settings: Settings) -> None:
    """As a replica that takes over does, or a file that was not flushed: they are written again, the others are not."""
    async with over(own_redis.url, settings, timeout_s=5) as (service, store):
        await ask(service, 3)
        await until_finished(store, 3)
        earlier = {path: path.read_bytes() for path in files(own_redis)}
        await ask(service, 5)
        await until_finished(store, 8)
        await end(service, own_redis)
        for path, data in earlier.items():
            path.write_bytes(data)
        await ask(service, 2)
        await come_back(service, own_redis)
        await until_finished(store, 10)


@pytest.mark.redis
async def test_redis_may_hang(own_redis: EmbeddedRedis, settings: Settings) -> None:
    """While Redis takes connections and says nothing, requests do not wait; afterwards nothing is counted twice."""
    async with over(own_redis.url, settings, timeout_s=30) as (service, store):
        await ask(service, 3)
        await until_finished(store, 3)
        pid = own_redis.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            await ask(service, 10)
            assert await is_ready(service)
        finally:
            os.kill(pid, signal.SIGCONT)
        await until_finished(store, 13)


@pytest.mark.redis
async def test_a_timeout_in_the_middle_of_a_write_counts_once(own_redis: EmbeddedRedis, settings: Settings) -> None:
    """Redis that did what it was told but answered too late is not told again."""
    async with over(own_redis.url, settings, timeout_s=0.2) as (service, store):
        pid = own_redis.pid
        assert pid is not None
        for _ in range(3):
            os.kill(pid, signal.SIGSTOP)
            try:
                errors = service.metric("redis_errors_total")
                await ask(service, 4)
                await service.until(lambda errors=errors: service.metric("redis_errors_total") > errors)  # type: ignore[misc]
            finally:
                os.kill(pid, signal.SIGCONT)
            await service.until(lambda: service.metric("redis_up") == 1)
        await until_finished(store, 12)


@pytest.mark.redis
async def test_redis_may_refuse_the_password(own_redis: EmbeddedRedis, settings: Settings) -> None:
    """A password that was changed is an outage like another: held, and written once it fits again."""
    async with over(own_redis.url, settings, timeout_s=5) as (service, store):
        with Redis.from_url(own_redis.url) as admin:
            admin.config_set("requirepass", "other")
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await service.until(lambda: service.metric("redis_up") == 0)
            await ask(service, 5)
            assert await is_ready(service)
            admin.config_set("requirepass", parse_address(own_redis.url).password or "")
        await until_finished(store, 5)


@pytest.mark.redis
async def test_redis_may_be_wiped(own_redis: EmbeddedRedis, settings: Settings) -> None:
    """After FLUSHALL the routers write back what they hold, once, however many they are."""
    async with (
        over(own_redis.url, settings, timeout_s=5) as (first, store),
        over(own_redis.url, settings, timeout_s=5) as (second, _),
    ):
        await ask(first, 10)
        await until_finished(store, 10)
        await second.until(lambda: held_by(first) == held_by(second))
        with Redis.from_url(own_redis.url) as admin:
            admin.flushall()
        await until_finished(store, 10)
        await announce_all(first)
        await ask(second, 5)
        await ask(first, 5)
        await until_finished(store, 20)


async def test_a_redis_that_never_answers_delays_nothing(settings: Settings) -> None:
    """A black hole from the start: the router starts, serves and stops."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    hole = await asyncio.start_server(hold, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{hole.sockets[0].getsockname()[1]}/0"
    client = connect(url, timeout_s=0.2)
    try:
        async with (
            asyncio.timeout(20),
            simulator(DRAFT) as engine,
            running_service(settings, {}, store=RedisStore(client, Keys())) as service,
        ):
            service.engines = {"draft-1": engine}
            await service.announce("draft-1")
            service.ingress.fleet.update(await service.registry.replicas())  # as known from before
            await ask(service, 5)
    finally:
        await client.aclose()
        hole.close()


async def test_what_waits_grows_with_records_not_with_requests(settings: Settings) -> None:
    """In a long outage deltas of one record are merged."""
    store = FailingStore()
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    async with running_service(settings, engines, store=store) as service:
        store.failure = ConnectionError()
        sharing: Sharing = service.ingress.recorder.sharing
        await ask(service, 60)
        assert 1 <= len([delta for deltas in sharing._unwritten().values() for delta in deltas]) <= 4


async def test_a_router_knows_when_it_has_heard_of_engines(settings: Settings) -> None:
    """Started while Redis is away it has not; once the registry was read it has."""
    store, registry = FailingStore(), MemoryRegistry(time.monotonic)
    fleet = Fleet(time.time, 5.0, Tolerance(3, 1.0, 60.0))
    sharing = Sharing(store, registry, Knowledge(settings.policy), fleet, Telemetry(), time.time)
    await registry.announce(Heartbeat(replica="v", pool="v", model="m", target="t", url="http://127.0.0.1:1"), 60)
    store.away = True
    await sharing.exchange()
    assert not sharing.heard.is_set()
    store.away = False
    await sharing.exchange()
    assert sharing.heard.is_set()
    assert fleet.models() == ["m"]
