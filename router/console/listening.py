"""The console on an address of its own."""

import contextlib
from collections.abc import AsyncIterator

import uvicorn

from router.console.gate import Gate
from router.console.place import Place
from router.errors import SetupError

STOP_S = 2.0
"""How long pages may finish: a browser whose page is open would hold the service's end up for as long as allowed."""


@contextlib.asynccontextmanager
async def listening(gate: Gate, place: Place, change: str) -> AsyncIterator[None]:
    """Serve the console there for as long as the context lasts; SetupError, with what to `change`, where it cannot."""
    config = uvicorn.Config(
        gate,
        host=place.host,
        port=place.port,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(STOP_S),
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    try:
        # Not `serve`, which takes over the signals of the process: these are Ray's, or the command's.
        await server.startup()
    except SystemExit:
        raise SetupError(f"console.port: cannot use {place.host}:{place.port}. {change}") from None
    try:
        yield
    finally:
        await server.shutdown()
