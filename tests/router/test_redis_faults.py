"""Redis in every arrangement and every trouble: no request fails or waits, and nothing that was learnt is lost."""

import asyncio
import contextlib
import shutil
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis
from redises import add_replica, certificates, cluster, kill_listener, proxy, redis_server, says_ok, until, watched_pair
from service import CHAT, DRAFT, VANILLA, Service, running_service, settings_with, simulator

from policies.learning import TASK_HALF_LIFE_REQUESTS
from policies.records import Delta
from router.access.redis_door import RedisKeyStore, RedisUsageStore
from router.config.settings import RedisSettings
from router.state.redis_client import AsyncRedis, connect_to
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore
from router.state.store import Cursor, StoreError

pytestmark = pytest.mark.redis

TASK = "sql_generation"
TOKENS = 40
ASKED = {**CHAT, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
ON = {"x-alpharoute-speculation": "on", "x-alpharoute-task": TASK}


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A redis-server that the test may harm."""
    with redis_server(tmp_path) as running:
        yield running


def redis_settings(url: str, **facts: object) -> RedisSettings:
    """What an operator would set."""
    return RedisSettings.model_validate({"url": SecretStr(url), "timeout_s": 0.3, **facts})


@contextlib.asynccontextmanager
async def over(redis: RedisSettings) -> AsyncIterator[tuple[Service, RedisStore]]:
    """A router whose store and registry are in this Redis; its engines announce themselves twice a second."""
    client, keys = connect_to(redis), Keys(redis.prefix)
    store, registry = RedisStore(client, keys), RedisRegistry(client, keys)
    engines = {"vanilla-1": simulator(VANILLA), "draft-1": simulator(DRAFT)}
    settings = settings_with(policy={"exploration": {"enabled": False}, "guard": {"enabled": False}})

    async def announce(service: Service) -> None:
        while True:
            for name in engines:
                with contextlib.suppress(StoreError):
                    await service.announce(name)
            await asyncio.sleep(0.1)

    try:
        async with running_service(settings, engines, store=store, registry=registry) as service:
            announcing = asyncio.create_task(announce(service))
            try:
                yield service, store
            finally:
                announcing.cancel()
                await asyncio.gather(announcing, return_exceptions=True)
    finally:
        await client.aclose()


async def ask(service: Service, times: int) -> float:
    """Send requests that speculate; each is answered, and soon. Their median time in the router, in ms."""
    overheads = []
    for _ in range(times):
        async with asyncio.timeout(10), service.session.post("/v1/chat/completions", json=ASKED, headers=ON) as got:
            assert got.status == 200, await got.text()
            await got.read()
            overheads.append(float(got.headers["x-alpharoute-overhead-ms"]))
    async with service.session.get("/ready") as ready:
        assert ready.status == 200, await ready.text()
    return statistics.median(overheads)


async def until_learnt(store: RedisStore, requests: int) -> None:
    """Wait until the store holds what this many requests taught, no more and no less."""
    expected = sum(2 ** (-i / TASK_HALF_LIFE_REQUESTS) for i in range(requests))
    deadline, held = time.monotonic() + 20, 0.0
    while abs(held - expected) > 0.1:
        assert time.monotonic() < deadline, f"the store holds {held} of {expected}"
        await asyncio.sleep(0.02)
        with contextlib.suppress(StoreError):
            records = (await store.changes(Cursor())).records
            answers = (r.fields for key, r in records.items() if key.startswith("task:") and TASK in key)
            held = sum(fields["tokens"] for fields in answers) / TOKENS


async def suffers(service: Service, rounds: int) -> int:
    """Requests while Redis is in trouble are as quick as before; how many were sent.

    The machine may be busy with something else: of several rounds the quickest counts.
    """
    before = await ask(service, 5)
    await service.until(lambda: service.metric("redis_up") == 0)
    meanwhile = min([await ask(service, 5) for _ in range(rounds)])
    assert meanwhile < before + 1, f"{meanwhile} ms in the router, {before} ms before"
    await service.until(lambda: service.metric("redis_errors_total") > 2)
    return 5 + 5 * rounds


async def test_out_of_memory(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Redis that takes no writes hears no heartbeats: engines that it no longer lists are still asked."""
    async with over(redis_settings(f"redis://127.0.0.1:{port}")) as (service, store):
        await ask(service, 5)
        await until_learnt(store, 5)
        with Redis(port=port) as admin:
            admin.config_set("maxmemory", "1")
            asked = await suffers(service, 3)
            admin.delete(*(Keys().replica(name) for name in service.engines))
            await ask(service, 5)
            assert len(service.ingress.fleet.heartbeats()) == 2
            admin.config_set("maxmemory", "0")
        await until_learnt(store, 5 + asked + 5)
        assert len(service.ingress.fleet.heartbeats()) == 2
    said = [record.message for record in caplog.records if record.name == "alpharoute.sharing"]
    assert len(said) == 1
    assert "OutOfMemory" in said[0]


async def test_slow(port: int) -> None:
    """Answers that take longer than anyone waits, then ones that are only late: nothing is lost or doubled."""
    delay_s = [0.0]
    async with (
        proxy(port, delay_s=lambda: delay_s[0]) as slow_port,
        over(redis_settings(f"redis://127.0.0.1:{slow_port}")) as (service, store),
    ):
        await ask(service, 5)
        await until_learnt(store, 5)
        delay_s[0] = 1.0
        asked = await suffers(service, 3)
        delay_s[0] = 0.05
        await service.until(lambda: service.metric("redis_up") == 1)
        await ask(service, 10)
        delay_s[0] = 0.0
        await until_learnt(store, 5 + asked + 10)


async def test_wrong_password(port: int) -> None:
    """A password that changed on the server is an outage like another."""
    with Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "router", "on", ">old", "~{alpharoute}*", *ALLOWED)
        async with over(redis_settings(f"redis://router:old@127.0.0.1:{port}")) as (service, store):
            await ask(service, 5)
            await until_learnt(store, 5)
            admin.execute_command("ACL", "SETUSER", "router", "<old", ">new")
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            asked = await suffers(service, 3)
            admin.execute_command("ACL", "SETUSER", "router", ">old")
            await until_learnt(store, 5 + asked)


ALLOWED = ("+@read", "+@write", "+@scripting", "+@transaction", "+@connection", "+time", "-@dangerous")
"""What docs/redis.md grants."""


def test_the_guide_grants_what_is_tested() -> None:
    """Its line for operators has these rights."""
    assert " ".join(("~{alpharoute}*", *ALLOWED)) in (Path(__file__).parents[2] / "docs" / "redis.md").read_text()


async def test_a_user_needs_little(port: int) -> None:
    """The rights in docs/redis.md do for everything, and for nothing beside our keys."""
    with Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "router", "on", ">secret", "~{alpharoute}*", *ALLOWED)
        admin.execute_command("ACL", "SETUSER", "default", "resetpass")
    settings = redis_settings(f"redis://127.0.0.1:{port}", username="router", password="secret")
    client, keys = connect_to(settings), Keys()
    await exercise(client, keys)
    with pytest.raises(StoreError, match="NoPermission"):
        await RedisStore(client, Keys("other")).position()
    await client.aclose()


async def exercise(client: AsyncRedis, keys: Keys) -> None:
    """Every command of every store, once."""
    store, registry = RedisStore(client, keys), RedisRegistry(client, keys)
    door, usage = RedisKeyStore(client, keys), RedisUsageStore(client, keys)
    now = await store.position()
    await store.merge([Delta(f"acc:{i}", {"s1": 1.0}) for i in range(3)], "batch", now.generation)
    assert len((await store.changes(Cursor())).records) == 3
    assert await registry.replicas() == []
    await registry.withdraw("none")
    assert await door.read("") is not None
    await door.restore(())
    await usage.exchange("r", {1: {}})


async def test_sentinels_name_another_server(tmp_path: Path) -> None:
    """The server dies: its replica is promoted, found through the Sentinel, and has what was replicated."""
    with watched_pair(tmp_path) as (first, _, sentinel):
        url = f"redis+sentinel://127.0.0.1:{sentinel}/main/0"
        async with over(redis_settings(url, sentinel_password="watchful")) as (service, store):
            await ask(service, 5)
            await until_learnt(store, 5)
            kill_listener(first)
            await ask(service, 5)
            await service.until(lambda: service.metric("redis_up") == 0)
            await service.until(lambda: service.metric("redis_up") == 1, limit_s=20)
            await ask(service, 5)
            await until_learnt(store, 15)


async def test_a_demoted_server_is_left(tmp_path: Path) -> None:
    """A planned failover: the old server refuses writes as a replica, and the new one is used."""
    with watched_pair(tmp_path) as (first, second, sentinel):
        url = f"redis+sentinel://127.0.0.1:{sentinel}/main"
        async with over(redis_settings(url, sentinel_password="watchful")) as (service, store):
            await ask(service, 5)
            await until_learnt(store, 5)
            with (
                Redis(port=sentinel, password="watchful") as admin,
                Redis(port=first) as old,
                Redis(port=second) as new,
            ):
                await asyncio.to_thread(until, lambda: says_ok(admin, "SENTINEL", "FAILOVER", "main"), "refused")
                await asyncio.to_thread(until, lambda: new.info("replication")["role"] == "master", "no failover")
                old.replicaof("127.0.0.1", second)  # a Sentinel does that too, ten seconds later
            await ask(service, 5)
            await until_learnt(store, 10)
            with Redis(port=second) as new:
                assert new.exists(Keys().version)


async def test_a_cluster_whose_node_is_replaced(tmp_path: Path) -> None:
    """All keys are in one slot; its node is taken over by a replica while requests run."""
    with cluster(tmp_path) as ports:
        owner = add_replica(ports, Keys().version)
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports[:3])
        settings = redis_settings(url, timeout_s=1.0)
        async with over(settings) as (service, store):
            await ask(service, 5)
            await until_learnt(store, 5)
            with Redis(port=owner) as node, Redis(port=ports[-1]) as replica:
                assert node.exists(Keys().version)
                replica.execute_command("CLUSTER FAILOVER", "TAKEOVER")
                await asyncio.to_thread(until, lambda: replica.info("replication")["role"] == "master", "no failover")
            kill_listener(owner)
            await ask(service, 5)
            await until_learnt(store, 10)
        client, keys = connect_to(settings), Keys("other")
        await exercise(client, keys)
        await client.aclose()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")
async def test_encrypted_with_certificates_on_both_sides(tmp_path: Path, port: int) -> None:
    """The server's certificate is checked against the authority that is set, and ours is presented.

    The bundled redis-server is built without TLS: a proxy speaks it in its place.
    """
    certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    ours = {"ca_file": tmp_path / "ca.pem", "cert_file": tmp_path / "client.pem", "key_file": tmp_path / "client.key"}
    async with proxy(port, encrypted=context) as tls_port:
        url = f"rediss://127.0.0.1:{tls_port}"
        async with over(redis_settings(url, timeout_s=2.0, **ours)) as (service, store):
            await ask(service, 5)
            await until_learnt(store, 5)
        for missing in ("ca_file", "cert_file"):
            kept = {name: file for name, file in ours.items() if name == "ca_file" and missing != "ca_file"}
            client = connect_to(redis_settings(url, timeout_s=2.0, **kept))
            with pytest.raises(StoreError, match=r"SSL|certificate|Connection"):
                await RedisStore(client, Keys()).position()
            await client.aclose()
