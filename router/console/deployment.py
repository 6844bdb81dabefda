"""The console as a Serve application of its own: one replica beside the routers, which it asks as any client does.

What a browser is shown lives in this one process, so no load balancer needs to keep browsers apart; where it ends,
Serve starts another, and whoever was signed in signs in again.
"""

import contextlib
from collections.abc import AsyncIterator

import uvicorn
from ray import serve
from ray.serve import Application as ServeApplication

from engines.loopback import keep_to_loopback
from router.config.settings import Settings
from router.console.gate import Gate, Told
from router.console.place import Place, own_place, told_by
from router.errors import SetupError

APP = "alpharoute-console"
CPUS = 0.1
"""Reserved for the console: it draws pages for a few people."""

MOST_ONGOING = 512
"""Requests at a time; each open page is one, its websocket."""

STOP_S = 2.0
"""How long pages may finish: a browser whose page is open would hold the service's end up for as long as allowed."""


@serve.ingress()
class ConsoleReplica:
    """The console's process."""

    def __init__(self, told: Told, own: Place | None) -> None:
        keep_to_loopback()
        self._told = told
        self._own = own
        self._running = contextlib.AsyncExitStack()

    async def __serve_build_asgi_app__(self) -> Gate:
        # NiceGUI is this process's alone: whoever deploys the service does not load it.
        from router.console.application import running_console

        gate = await self._running.enter_async_context(running_console(self._told))
        if self._own is not None:
            await self._running.enter_async_context(_listening(gate, self._own))
        return gate


def build_console(settings: Settings) -> ServeApplication:
    """The console as a Serve application for /console; `serve deploy` calls it with the settings as `args`.

    With `admin.port` or `console.port` set it listens there itself, and the application needs no route.
    """
    deployment = serve.deployment(
        ConsoleReplica,
        name="console",
        num_replicas=1,
        max_ongoing_requests=MOST_ONGOING,
        ray_actor_options={"num_cpus": CPUS},
        graceful_shutdown_timeout_s=STOP_S,
        graceful_shutdown_wait_loop_s=0.5,
    )
    return deployment.bind(told_by(settings), own_place(settings))


@contextlib.asynccontextmanager
async def _listening(gate: Gate, place: Place) -> AsyncIterator[None]:
    """Serve the console on a port of its own for as long as the context lasts; SetupError where it is not free."""
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
        # Not `serve`, which takes over the signals of the process: these are Ray's.
        await server.startup()
    except SystemExit:
        raise SetupError(
            f"console.port: cannot use {place.host}:{place.port}. Choose another with ALPHAROUTE_CONSOLE__PORT."
        ) from None
    try:
        yield
    finally:
        await server.shutdown()
