"""The engine seam: vLLM, the simulator and a server by URL, alike to whoever runs them."""

import asyncio
from typing import Protocol

import aiohttp

from engines.pool import PoolSettings
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from engines.vllm_load import EngineLoad, read_load

_HTTP_LIMIT = aiohttp.ClientTimeout(total=5)
_POLL_S = 0.5
_DRAIN_POLL_S = 0.05


class Engine(Protocol):
    """One engine: started, watched, drained, stopped."""

    @property
    def url(self) -> str:
        """Base URL, without /v1; known after the start."""

    @property
    def api_key(self) -> str | None:
        """The key it wants."""

    @property
    def phase(self) -> str:
        """What it is busy with while it starts."""

    async def start(self) -> None:
        """Return when it answers; raises with a message for the operator where it does not."""

    async def died(self) -> Exception:
        """Return, with the reason, when it has ended by itself."""

    async def load(self) -> EngineLoad:
        """How busy it is; raises where it does not answer."""

    async def drain(self, limit_s: float) -> bool:
        """Wait until nothing runs; whether that came within the limit."""

    async def stop(self) -> None:
        """End it; safe to repeat."""


class SimulatorEngine:
    """A simulator inside this process."""

    def __init__(self, pool: PoolSettings, host: str, api_key: str) -> None:
        options = pool.simulator
        self.api_key = api_key
        self.phase = "starting"
        self._host = host
        self._dead = asyncio.Event()
        self._server = SimulatorServer(
            SimulatedEngine(
                SimulatorSettings(
                    model=pool.model,
                    method=pool.method,
                    drafter=pool.drafter,
                    k_max=pool.k_max,
                    calibration=options.calibration,
                    seed=options.seed,
                    time_scale=options.time_scale,
                    max_num_seqs=pool.max_running,
                    api_key=api_key,
                )
            ),
            on_exit=lambda _: self._die(),
        )

    @property
    def url(self) -> str:
        """See Engine."""
        return self._server.url

    async def start(self) -> None:
        """See Engine."""
        await self._server.start(self._host)

    async def died(self) -> Exception:
        """See Engine."""
        await self._dead.wait()
        return RuntimeError("the simulator was told to exit")

    async def load(self) -> EngineLoad:
        """See Engine."""
        batch = self._server.engine.batch
        return EngineLoad(len(batch.running), len(batch.waiting), batch.kv_usage)

    async def drain(self, limit_s: float) -> bool:
        """See Engine."""
        deadline_s = asyncio.get_running_loop().time() + limit_s
        while busy := bool((await self.load()).running):
            if asyncio.get_running_loop().time() >= deadline_s:
                break
            await asyncio.sleep(_DRAIN_POLL_S)
        return not busy

    async def stop(self) -> None:
        """See Engine."""
        await self._server.stop()

    def _die(self) -> None:
        self._server.kill()
        self._dead.set()


class UrlEngine:
    """A server that somebody else runs: it is watched, never started or stopped."""

    phase = "waiting for it to answer"

    def __init__(self, url: str, api_key: str | None) -> None:
        self.url = url
        self.api_key = api_key
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Wait, as long as it takes, until its /metrics can be read."""
        self._session = aiohttp.ClientSession(timeout=_HTTP_LIMIT)
        while True:
            try:
                await self.load()
                return
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(_POLL_S)

    async def died(self) -> Exception:
        """Never: a server that does not answer is left out until it does again."""
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def load(self) -> EngineLoad:
        """See Engine."""
        assert self._session is not None, "start first"
        return await read_load(self._session, self.url, self.api_key)

    async def drain(self, limit_s: float) -> bool:
        """Not ours to drain."""
        return True

    async def stop(self) -> None:
        """Stop watching."""
        if self._session is not None:
            await self._session.close()
            self._session = None
