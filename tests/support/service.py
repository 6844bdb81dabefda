"""A whole router in this process: simulator engines, a real HTTP server, state in memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
import uvicorn

from classifiers.label import Uninformed
from engines.pool import PoolSettings
from engines.registry import Heartbeat
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from policies.words import TASKS
from router.ingress import Ingress
from router.service import Application, running_ingress
from router.settings import Settings
from router.store import MemoryRegistry, MemoryStore

KEY = "engine-key"
VANILLA = PoolSettings(name="vanilla", engine="simulator")
DRAFT = PoolSettings(name="draft", engine="simulator", drafter="small", method="draft_model", k_max=4)


@dataclass
class Service:
    """A running router and what it stands on; `session` has its URL as base."""

    url: str
    session: aiohttp.ClientSession
    settings: Settings
    store: MemoryStore
    registry: MemoryRegistry
    engines: dict[str, SimulatorServer]
    ingresses: list[Ingress] = field(default_factory=list)

    async def announce(self, name: str, **facts: object) -> None:
        """Announce an engine as its replica would."""
        pool = next(pool for pool in self.settings.pools if name.startswith(pool.name))
        beat = {
            "replica": name,
            "pool": pool.name,
            "model": pool.model,
            "target": "sim@1",
            "drafter": pool.drafter,
            "method": pool.method,
            "k_max": pool.k_max,
            "url": self.engines[name].url,
            "api_key": KEY,
            "clock_s": time.time(),
            **facts,
        }
        await self.registry.announce(Heartbeat.model_validate(beat), ttl_s=60)

    async def until(self, good: Callable[[], bool], limit_s: float = 10) -> None:
        """Wait for a condition, a deadline at most."""
        deadline = time.monotonic() + limit_s
        while not good():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.005)


def simulator(pool: PoolSettings, **facts: object) -> SimulatorServer:
    """An engine of the pool without step times."""
    options = {"model": pool.model, "method": pool.method, "drafter": pool.drafter, "k_max": max(1, pool.k_max)}
    settings = SimulatorSettings.model_validate({**options, "calibration": "instant", "api_key": KEY, **facts})
    return SimulatorServer(SimulatedEngine(settings))


@contextlib.asynccontextmanager
async def http_server(app: Application) -> AsyncIterator[str]:
    """uvicorn over the application, lifespan included, on a free port."""
    config = uvicorn.Config(app, port=0, lifespan="on", log_level="critical", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # older uvicorn
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done(), "the server did not start"
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def running_service(settings: Settings, engines: dict[str, SimulatorServer]) -> AsyncIterator[Service]:
    """A router over these engines, all of them announced and known."""
    store, registry = MemoryStore(), MemoryRegistry(time.monotonic)
    ingresses: list[Ingress] = []

    @contextlib.asynccontextmanager
    async def remembered() -> AsyncIterator[Ingress]:
        async with running_ingress(settings, store, registry, Uninformed(TASKS)) as ingress:
            ingresses.append(ingress)
            yield ingress

    async with contextlib.AsyncExitStack() as stack:
        for server in engines.values():
            await stack.enter_async_context(server)
        url = await stack.enter_async_context(http_server(Application(remembered())))
        session = await stack.enter_async_context(aiohttp.ClientSession(url))
        service = Service(url, session, settings, store, registry, engines, ingresses)
        for name in engines:
            await service.announce(name)
        await service.until(lambda: len(ingresses[0].fleet.heartbeats()) == len(engines))
        yield service
