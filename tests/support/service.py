"""A whole router in this process: engines that are simulated or scripted, a real HTTP server, state in memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import uvicorn
from scripted import ScriptedEngine
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from classifiers.label import Uninformed
from engines.pool import PoolSettings
from engines.registry import Heartbeat, Registry
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from policies.task import TASKS
from router.admin.wiring import AdminStores
from router.config.settings import Settings
from router.ingress import Ingress
from router.service import Application, running_ingress
from router.state.store import MemoryRegistry, MemoryStore, Store

KEY = "engine-key"
VANILLA = PoolSettings(name="vanilla", engine="simulator")
DRAFT = PoolSettings(name="draft", engine="simulator", drafter="small", method="draft_model", k_max=4)


CHAT: dict[str, object] = {"model": "demo", "messages": [{"role": "user", "content": "[task:sql_generation] hello"}]}
COMPLETION: dict[str, object] = {"model": "demo", "prompt": "[task:sql_generation] hello"}


EngineServer = SimulatorServer | ScriptedEngine
"""What stands where a router looks for an engine."""


@dataclass
class Service:
    """A running router and what it stands on; `session` has its URL as base."""

    url: str
    session: aiohttp.ClientSession
    settings: Settings
    store: Store
    registry: Registry
    engines: Mapping[str, EngineServer]
    ingresses: list[Ingress] = field(default_factory=list)

    @property
    def ingress(self) -> Ingress:
        """The router's inside."""
        return self.ingresses[0]

    def simulator(self, name: str) -> SimulatorServer:
        """One of the engines, where that is a simulator."""
        engine = self.engines[name]
        assert isinstance(engine, SimulatorServer)
        return engine

    def recent(self, name: str) -> dict[str, object]:
        """The last request that a simulator saw."""
        recent = self.simulator(name).state()["recent"]
        assert isinstance(recent, list)
        assert recent, f"{name} saw no request"
        last: dict[str, object] = recent[-1]
        return last

    def metric(self, name: str, **labels: str) -> float:
        """A figure of the metrics page by its name there; 0 where it was never counted."""
        registry = self.ingress.recorder.telemetry.registry
        return registry.get_sample_value(f"alpharoute_{name}", labels) or 0.0

    def total(self, name: str, **labels: str) -> float:
        """The sum over the labels that are not named."""
        samples = (s for metric in self.ingress.recorder.telemetry.registry.collect() for s in metric.samples)
        wanted = labels.items()
        return sum(s.value for s in samples if s.name == f"alpharoute_{name}" and wanted <= s.labels.items())

    async def announce(self, name: str, **facts: object) -> None:
        """Announce an engine as its replica would."""
        pool = next(pool for pool in self.settings.pools if name.startswith(pool.name))
        beat = {
            "replica": name,
            "pool": pool.name,
            "model": pool.model,
            "loras": tuple(pool.loras),
            "target": "sim@1",
            "drafter": pool.drafter,
            "method": pool.method,
            "k_max": pool.k_max,
            "url": self.engines[name].url,
            "api_key": KEY,
            "clock_s": time.time(),
            **facts,
        }
        await self.registry.announce(Heartbeat.model_validate(beat), ttl_s=3600)

    async def until_async(self, good: Callable[[], Awaitable[bool]], limit_s: float = 10) -> None:
        """Wait for a condition that is asked for, a deadline at most."""
        deadline = time.monotonic() + limit_s
        while not await good():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.01)

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
    """uvicorn's protocol and lifespan over the application on a free port, without its server's pauses of 0.1 s."""
    config = uvicorn.Config(app, lifespan="on", log_level="critical", ws="none")
    config.load()
    lifespan, state, loop = config.lifespan_class(config), ServerState(), asyncio.get_running_loop()
    await lifespan.startup()
    assert not lifespan.should_exit, "the router did not start"

    def protocol() -> HttpToolsProtocol:
        return HttpToolsProtocol(config=config, server_state=state, app_state={}, _loop=loop)

    listener = await loop.create_server(protocol, "127.0.0.1", 0, backlog=1024)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(set(state.tasks), timeout=1)
        for connection in list(state.connections):
            connection.transport.abort()
        await lifespan.shutdown()


@contextlib.asynccontextmanager
async def running_service(
    settings: Settings,
    engines: Mapping[str, EngineServer],
    *,
    store: Store | None = None,
    registry: Registry | None = None,
    shared: AdminStores | None = None,
    name: str = "router",
) -> AsyncIterator[Service]:
    """A router over these engines, all of them announced and known; state of its own unless one is given."""
    store, registry = store or MemoryStore(), registry or MemoryRegistry(time.monotonic)
    ingresses: list[Ingress] = []

    @contextlib.asynccontextmanager
    async def remembered() -> AsyncIterator[Ingress]:
        async with running_ingress(settings, store, registry, Uninformed(TASKS), name=name, shared=shared) as ingress:
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
        await service.until(lambda: len(ingresses[0].fleet.heartbeats()) >= len(engines))
        yield service


def settings_with(pools: Sequence[PoolSettings] = (VANILLA, DRAFT), **parts: Mapping[str, object]) -> Settings:
    """Settings of a router whose state is exchanged quickly; `parts` are sections such as `limits`."""
    router = {"sync_s": 0.02, **parts.pop("router", {})}
    return Settings.model_validate({"pools": list(pools), "router": router, **parts})
