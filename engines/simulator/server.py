"""The simulator as a server inside an event loop: uvicorn's HTTP protocol over one listening socket."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from engines.simulator.app import SimulatorApp
from engines.simulator.control import engine_state
from engines.simulator.engine import SimulatedEngine
from engines.simulator.exchange import TRANSPORT

LARGEST_PORT = 65_535


class CuttableProtocol(HttpToolsProtocol):
    """uvicorn's protocol that also leaves the connection in the scope, for failures that cut it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False

    def on_message_begin(self) -> None:
        """Called at the first byte of a request."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[TRANSPORT] = self.transport


class SimulatorServer:
    """One simulated engine at a URL; also an async context manager that starts and stops it.

    `on_exit` is what the failure `exit` does: by default the server dies as a killed process would, with its
    listener and all its connections, and the surrounding process lives on.
    """

    def __init__(self, engine: SimulatedEngine, *, on_exit: Callable[[int], None] | None = None) -> None:
        self.engine = engine
        self.url = ""
        self._app = SimulatorApp(engine, on_exit or (lambda _code: self.kill()))
        self._connections = ServerState()
        self._listener: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen (port 0: any free one) and begin stepping; the URL. `OSError` where the port is taken."""
        if not 0 <= port <= LARGEST_PORT:
            raise ValueError(f"port must be 0…{LARGEST_PORT}, got {port!r}")  # uvloop would take it modulo 65,536
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            self._app, lifespan="off", log_config=None, log_level="critical", ws="none", proxy_headers=False
        )
        config.load()

        def protocol() -> CuttableProtocol:
            return CuttableProtocol(config=config, server_state=self._connections, app_state={}, _loop=loop)

        self._listener = await loop.create_server(protocol, host, port, backlog=4096)
        bound = self._listener.sockets[0].getsockname()
        self.url = f"http://{host if ':' not in host else f'[{host}]'}:{bound[1]}"
        self.engine.start()
        return self.url

    async def stop(self, drain_s: float = 0.0) -> None:
        """Take no more connections, let running requests finish for up to `drain_s`, then cut them off."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections.connections):
            connection.shutdown()
        if running := set(self._connections.tasks):
            await asyncio.wait(running, timeout=drain_s)
        self.kill()
        await asyncio.gather(*self._connections.tasks, return_exceptions=True)
        await self.engine.stop()

    def kill(self) -> None:
        """Die at once: the listener and every connection are gone, nothing is answered any more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._connections.connections):
            connection.transport.abort()

    def state(self) -> dict[str, object]:
        """What GET /simulator/state answers."""
        return engine_state(self.engine)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
