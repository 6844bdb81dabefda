"""Wiring: from settings to an ASGI application with its connections and background work."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator

from classifiers.label import Classifier
from engines.registry import Registry
from policies.knowledge import Knowledge
from router.catalogue import catalogue_of
from router.fleet import Fleet
from router.guard import App
from router.http import Receive, Scope, Send
from router.ingress import Ingress
from router.overview import Decisions
from router.record import Recorder
from router.relay import Relay
from router.settings import Settings
from router.sharing import Sharing
from router.status import Status
from router.store import Clock, Store
from router.telemetry import Telemetry
from router.upstream import Upstream

logger = logging.getLogger("alpharoute")


@contextlib.asynccontextmanager
async def running_ingress(
    settings: Settings,
    store: Store,
    registry: Registry,
    classifier: Classifier,
    clock_s: Clock = time.time,
    name: str = "router",
) -> AsyncIterator[Ingress]:
    """An ingress in step with the store for as long as the context lasts; `name` tells routers apart."""
    telemetry = Telemetry()
    knowledge = Knowledge(settings.policy)
    fleet = Fleet(clock_s, grace_s=settings.router.heartbeat_ttl_s)
    sharing = Sharing(store, registry, knowledge, fleet, telemetry, clock_s)
    decisions = Decisions()
    catalogue = catalogue_of(settings.pools, settings.models.aliases, fleet, int(clock_s()))
    limits = settings.limits
    async with Upstream(connect_s=limits.connect_s, silence_s=limits.silence_s) as upstream:
        await sharing.exchange()
        syncing = asyncio.create_task(sharing.run(settings.router.sync_s))
        try:
            yield Ingress(
                limits=limits,
                retries=settings.router.retries,
                catalogue=catalogue,
                classifier=classifier,
                knowledge=knowledge,
                fleet=fleet,
                upstream=upstream,
                relay=Relay(fleet, upstream, settings.router.retries),
                recorder=Recorder(telemetry, sharing, knowledge, fleet, decisions, clock_s),
                status=Status(name, catalogue, knowledge, fleet, sharing, decisions, telemetry, clock_s),
                clock_s=clock_s,
                draws=random.Random(),
            )
        finally:
            syncing.cancel()
            await asyncio.gather(syncing, return_exceptions=True)
            await sharing.exchange()


class Application:
    """The ASGI application: starts with `start` or on lifespan startup, stops on lifespan shutdown."""

    def __init__(self, running: contextlib.AbstractAsyncContextManager[App]) -> None:
        self._running = running
        self._app: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI conversation."""
        if scope["type"] == "http" and self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def start(self) -> None:
        """Start now, so that what goes wrong reaches the caller: servers swallow what a lifespan raises."""
        self._app = await self._running.__aenter__()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            if self._app is None:
                await self.start()
        except Exception as error:
            logger.exception("the router cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._app = None
        await self._running.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})
