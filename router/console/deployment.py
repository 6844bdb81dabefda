"""The console as a Serve application of its own: one replica beside the routers, which it asks as any client does.

What a browser is shown lives in this one process, so no load balancer needs to keep browsers apart; where it ends,
Serve starts another, and whoever was signed in signs in again.
"""

import contextlib

from ray import serve
from ray.serve import Application as ServeApplication

from engines.loopback import keep_to_loopback
from router.access.guard import App
from router.config.settings import Settings
from router.config.traffic import LogSettings
from router.console.gate import Told
from router.console.listening import STOP_S, listening
from router.console.place import Place, own_place, told_by
from router.observe.logs import configure_logging
from router.unread import closing_unread

APP = "alpharoute-console"
CPUS = 0.1
"""Reserved for the console: it draws pages for a few people."""

MOST_ONGOING = 512
"""Requests at a time; each open page is one, its websocket."""


@serve.ingress()
class ConsoleReplica:
    """The console's process."""

    def __init__(self, told: Told, own: Place | None, logs: LogSettings) -> None:
        keep_to_loopback()
        configure_logging(logs, "console")
        self._told = told
        self._own = own
        self._running = contextlib.AsyncExitStack()

    async def __serve_build_asgi_app__(self) -> App:
        # NiceGUI is this process's alone: whoever deploys the service does not load it.
        from router.console.application import running_console

        gate = await self._running.enter_async_context(running_console(self._told))
        if self._own is not None:
            change = "Choose another with ALPHAROUTE_CONSOLE__PORT."
            await self._running.enter_async_context(listening(gate, self._own, change))
        return closing_unread(gate)


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
    return deployment.bind(told_by(settings), own_place(settings), settings.logs)
