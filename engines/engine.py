"""The engine seam: vLLM, the simulator and a server by URL, alike to whoever runs them."""

import asyncio
import contextlib
from typing import Protocol

import aiohttp

from engines.http import engine_session
from engines.pool import PoolSettings
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from engines.vllm_load import EngineLoad, read_load

_HTTP_LIMIT_S = 5.0
_AWAY_S = 30.0
_LOOK_S = 2.0
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
_DRAIN_POLL_S = 0.05


class UnreachableError(Exception):
    """A server by URL whose /metrics cannot be read."""


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
        self.api_key = api_key
        self.phase = "starting"
        self._pool = pool
        self._host = host
        self._dead = asyncio.Event()
        self._server = self._made()

    def _made(self) -> SimulatorServer:
        pool, options = self._pool, self._pool.simulator
        settings = SimulatorSettings(
            model=pool.model,
            loras=tuple(pool.loras),
            method=pool.method,
            drafter=pool.drafter,
            k_max=pool.k_max,
            calibration=options.calibration,
            seed=options.seed,
            time_scale=options.time_scale,
            max_num_seqs=pool.max_running,
            api_key=self.api_key,
        )
        return SimulatorServer(SimulatedEngine(settings), on_exit=lambda _: self._die())

    @property
    def url(self) -> str:
        """See Engine."""
        return self._server.url

    async def start(self) -> None:
        """See Engine."""
        if self._server.url:  # a process that starts again has forgotten everything too
            self._server, self._dead = self._made(), asyncio.Event()
        await self._server.start(self._host)

    async def died(self) -> Exception:
        """See Engine."""
        await self._dead.wait()
        return RuntimeError("the simulator was told to exit")

    async def load(self) -> EngineLoad:
        """See Engine."""
        batch = self._server.engine.batch
        tokens = batch.counts.prompt_tokens + batch.counts.generation_tokens
        return EngineLoad(len(batch.running), len(batch.waiting), batch.kv_usage, tokens)

    async def drain(self, limit_s: float) -> bool:
        """See Engine."""
        deadline_s = asyncio.get_running_loop().time() + limit_s
        while busy := (load := await self.load()).running + load.waiting > 0:
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

    def __init__(
        self, url: str, api_key: str | None, pause_s: float = 0.0, phase: str = "waiting for it to answer"
    ) -> None:
        """`pause_s`: how long to leave it alone first; `phase`: what to say of it meanwhile."""
        self.url = url
        self.api_key = api_key
        self.phase = phase
        self._pause_s = pause_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """See Engine; UnreachableError where its /metrics cannot be read."""
        await asyncio.sleep(self._pause_s)
        try:
            await self.load()
        except _NO_ANSWER as error:
            raise UnreachableError(f"/metrics: {str(error) or 'no answer'}") from error

    async def died(self) -> Exception:
        """Return when it has not answered for `_AWAY_S`: what comes back then may be another server."""
        clock_s = asyncio.get_running_loop().time
        answered_s = clock_s()
        while clock_s() - answered_s < _AWAY_S:
            await asyncio.sleep(_LOOK_S)
            with contextlib.suppress(*_NO_ANSWER):
                await self.load()
                answered_s = clock_s()
        return UnreachableError(f"/metrics: no answer for {_AWAY_S:.0f} s")

    async def load(self) -> EngineLoad:
        """See Engine."""
        if self._session is None:
            self._session = engine_session(_HTTP_LIMIT_S)
        return await read_load(self._session, self.url, self.api_key)

    async def drain(self, limit_s: float) -> bool:
        """Not ours to drain."""
        return True

    async def stop(self) -> None:
        """Stop watching."""
        if self._session is not None:
            await self._session.close()
            self._session = None
