"""`alpharoute serve` with keys: real Ray Serve and HAProxy, two routers, an admin port, keys that change."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import psutil
import pytest
from deployed import Deployed, deployed
from doorway import key_of

from engines.ports import free_port
from router.access.keys import Key, new_key
from router.access.redis_door import RedisKeyStore
from router.roles import Role
from router.state.redis_store import Keys, connect

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(240)]

CHAT = {"model": "demo", "messages": [{"role": "user", "content": "[task:sql_generation] hello"}], "max_tokens": 8}
LIMIT = 40


@dataclass(frozen=True)
class Guarded:
    """A service that listens to everybody, with its admin port and a key of each kind."""

    service: Deployed
    admin_url: str
    client: str
    admin: str
    limited: str

    async def put(self, key: Key) -> None:
        """Make a key as `alpharoute keys create` does."""
        redis = connect(self.service.redis_url, timeout_s=5)
        await RedisKeyStore(redis, Keys(self.service.prefix)).put(key, new=True)
        await redis.aclose()

    async def revoke(self, name: str) -> None:
        """Revoke one as `alpharoute keys revoke` does."""
        redis = connect(self.service.redis_url, timeout_s=5)
        await RedisKeyStore(redis, Keys(self.service.prefix)).remove(name)
        await redis.aclose()

    async def ask(self, key: str, url: str | None = None) -> int:
        """The status of a chat, over a connection of its own, which HAProxy may send to either router."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with (
            aiohttp.ClientSession(url or self.service.url) as session,
            session.post("/v1/chat/completions", json=CHAT, headers=headers) as got,
        ):
            await got.read()
            return got.status

    async def get(self, url: str, path: str, key: str = "") -> int:
        """The status of a page."""
        headers = {"x-api-key": key} if key else {}
        async with aiohttp.ClientSession(url) as session, session.get(path, headers=headers) as got:
            return got.status

    async def until(self, key: str, status: int) -> None:
        """Until every one of several requests in a row is answered so."""
        deadline = time.monotonic() + 15
        while {await self.ask(key) for _ in range(6)} != {status}:
            assert time.monotonic() < deadline, f"not {status} in time"


@pytest.fixture(scope="module")
def guarded(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Two routers, a simulator in each pool; three keys."""
    port = free_port()
    env = {
        "ALPHAROUTE_ROUTER__REPLICAS": "2",
        "ALPHAROUTE_LISTEN__HOST": "0.0.0.0",
        "ALPHAROUTE_AUTH__REDIS_KEYS": "true",
        "ALPHAROUTE_ADMIN__PORT": str(port),
    }
    with deployed(redis_url, tmp_path_factory.mktemp("keys"), "--engine", "sim", env=env) as service:
        running = Guarded(service, f"http://127.0.0.1:{port}", new_key(), new_key(), new_key())
        limits = {"requests_per_minute": LIMIT}
        for key in (
            key_of(running.client, "client"),
            key_of(running.admin, "admin", Role.ADMIN),
            key_of(running.limited, "limited", limits=limits),
        ):
            asyncio.run(running.put(key))
        asyncio.run(running.until(running.client, 200))
        yield running


async def test_only_keys_come_in(guarded: Guarded) -> None:
    """Through HAProxy as past it: each router's own port, which Ray Serve opens on the node, asks for a key too."""
    assert await guarded.ask("") == 401
    assert await guarded.ask(new_key()) == 401
    assert await guarded.ask(guarded.client) == 200
    assert await guarded.get(guarded.service.url, "/health") == 200
    assert await guarded.get(guarded.service.url, "/ready") == 200
    # Other ports of the service may lie in that range by chance: they answer /health too.
    others = {int(url.rsplit(":", 1)[1]) for url in (guarded.service.url, guarded.admin_url)}
    found = [port for port in _router_ports(guarded.service) if await _is_router(port)]
    ports = [port for port in found if port not in others]
    assert len(ports) == 2, (found, others)
    for port in ports:
        assert await guarded.ask("", f"http://127.0.0.1:{port}") == 401


def _router_ports(service: Deployed) -> list[int]:
    first = 20_000 + int(service.url.rsplit(":", 1)[1]) % 90 * 100
    listening = {
        connection.laddr.port
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and _is_replica(connection.pid)
    }
    return sorted(port for port in listening if first <= port < first + 100)


def _is_replica(pid: int | None) -> bool:
    """Whether a process is a replica of Ray Serve: whatever else runs on this machine may listen there and answer."""
    try:
        return pid is not None and "ServeReplica" in " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


async def _is_router(port: int) -> bool:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session, session.get("/health") as got:
        return await got.text() == '{"status":"ok"}'


async def test_the_admin_port_has_what_the_api_lacks(guarded: Guarded) -> None:
    """The admin API is there for an operator's key and nowhere else, and the console on the port after it."""
    for path in ("/console", "/admin/v1/decisions"):
        assert await guarded.get(guarded.service.url, path, guarded.admin) == 404
    assert await guarded.get(guarded.admin_url, "/admin/v1/decisions", guarded.admin) == 200
    assert await guarded.get(guarded.admin_url, "/admin/v1/decisions", guarded.client) == 403
    assert await guarded.get(guarded.admin_url, "/admin/v1/decisions") == 401
    host, _, port = guarded.admin_url.rpartition(":")
    assert await guarded.get(f"{host}:{int(port) + 1}", "/console/login") == 200
    assert await guarded.get(guarded.admin_url, "/v1/models", guarded.admin) == 404


async def test_keys_change_while_it_runs(guarded: Guarded) -> None:
    """A new key comes in at both routers, a revoked one at neither."""
    secret = new_key()
    await guarded.put(key_of(secret, "passing"))
    await guarded.until(secret, 200)
    await guarded.revoke("passing")
    await guarded.until(secret, 401)


async def test_a_limit_holds_over_both_routers(guarded: Guarded) -> None:
    """A burst of twice the limit through HAProxy: at most what arrives before the routers have told each other passes.

    Within one exchange each router may admit up to the limit; one request after another leaves time to tell.
    """
    statuses = [await guarded.ask(guarded.limited) for _ in range(LIMIT + 20)]
    admitted = statuses.count(200)
    assert LIMIT <= admitted <= LIMIT + 8, statuses
    assert set(statuses) == {200, 429}
    assert set(statuses[-10:]) == {429}
