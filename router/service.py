"""Wiring: from settings to an ASGI application with its connections and background work."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial

from classifiers.label import Classifier
from engines.pool import PoolSettings
from engines.registry import Heartbeat, Registry
from policies.knowledge import Knowledge
from router.access.guard import App
from router.admin.wiring import AdminStores, Watched, administered
from router.api.body_room import BodyRoom
from router.api.http import Receive, Scope, Send
from router.config.settings import Settings
from router.config.traffic import QueueSettings, ResilienceSettings
from router.distilling import kept_prompts
from router.evaluation import scheduled
from router.feedback import kept_feedback
from router.ingress import Ingress
from router.observe.pages import Board, MemoryBoard, Pages
from router.observe.telemetry import Telemetry
from router.observe.tracing import tracing
from router.policy_file import policy_followed
from router.state.store import Clock, Store
from router.status import Status
from router.steering.running import helm, steered
from router.tasks import kept_current
from router.traffic.breaker import Tolerance
from router.traffic.budget import RetryBudget
from router.traffic.catalogue import catalogue_of
from router.traffic.deployed import deployed
from router.traffic.dispatch import Dispatch
from router.traffic.fleet import Fleet
from router.traffic.gate import Gate
from router.traffic.probes import Probes
from router.traffic.record import Recorder
from router.traffic.relay import Relay
from router.traffic.retries import Retries
from router.traffic.sharing import Sharing
from router.traffic.sleepers import Call, Sleepers
from router.traffic.upstream import Patience, Upstream
from router.traffic.waiting import Waiting

logger = logging.getLogger("alpharoute")


@contextlib.asynccontextmanager
async def running_ingress(
    settings: Settings,
    store: Store,
    registry: Registry,
    classifier: Classifier,
    clock_s: Clock = time.time,
    name: str = "router",
    board: Board | None = None,
    shared: AdminStores | None = None,
    roll_call: Callable[[], Awaitable[list[Heartbeat]]] | None = None,
    call_back: Call | None = None,
) -> AsyncIterator[Ingress]:
    """An ingress in step with the store for as long as the context lasts; `name` tells routers apart.

    Their metrics pages meet on the `board`, what operators see and steer is `shared`; `roll_call` asks the engines who
    is there while the registry cannot be read, `call_back` wakes a pool that sleeps.
    """
    shared = shared or AdminStores()
    telemetry = Telemetry()
    knowledge = Knowledge(settings.policy)
    may_sleep = frozenset(pool.name for pool in settings.pools if pool.autoscaling.idle_s is not None)
    fleet = Fleet(time.monotonic, settings.router.heartbeat_ttl_s, _tolerance(settings.resilience), may_sleep)
    sleepers = Sleepers(settings.pools, fleet, telemetry, clock_s, call_back, settings.router.replicas)
    names = [pool.name for pool in settings.pools]
    sharing = Sharing(store, registry, knowledge, fleet, telemetry, clock_s, shared.marks, roll_call, names)
    part = helm(
        shared.steering,
        settings.decisions,
        settings.policy_file,
        knowledge,
        telemetry,
        fleet,
        sharing.announce,
        clock_s,
        name,
        partial(deployed, settings, fleet, classifier.tasks),
    )
    catalogue = catalogue_of(settings.pools, settings.models.aliases, fleet)
    limits = settings.limits
    traces = tracing(settings.tracing)
    pages = Pages(name, telemetry, board or MemoryBoard())
    gate = _gate(settings.queue, fleet, telemetry)
    recorder = Recorder(telemetry, sharing, part.pilot, part.witness, fleet, gate, clock_s)
    retries = Retries(settings.router.retries, _budget(settings.resilience), telemetry, time.monotonic)
    patience = Patience(limits.connect_s, limits.first_byte_s, limits.silence_s)
    async with (
        Upstream(patience) as upstream,
        kept_current(classifier, settings.classifier, shared.choices) as kept,
        kept_feedback(settings.classifier) as feedback,
        kept_prompts(settings.distillation, knowledge) as distilling,
        policy_followed(settings.policy_file, part.pilot),
        steered(part, settings.router.sync_s),
        administered(
            Watched(name, settings, kept, knowledge, fleet, pages, store, registry, clock_s), part, shared
        ) as admin,
    ):
        await sharing.exchange()
        tasks = [
            asyncio.create_task(sharing.run(settings.router.sync_s)),
            asyncio.create_task(gate.watch(settings.router.sync_s)),
            asyncio.create_task(Probes(fleet, upstream, telemetry).watch(settings.router.sync_s)),
            asyncio.create_task(pages.run()),
            asyncio.create_task(scheduled(settings, fleet, knowledge, sharing, clock_s).run()),
        ]
        try:
            ingress = Ingress(
                limits=limits,
                catalogue=catalogue,
                classifier=classifier,
                feedback=feedback,
                distilling=distilling,
                pilot=part.pilot,
                fleet=fleet,
                upstream=upstream,
                relay=Relay(fleet, upstream, retries, recorder),
                dispatch=Dispatch(
                    pilot=part.pilot,
                    fleet=fleet,
                    gate=gate,
                    retries=retries,
                    pools=_pools_by_model(settings.pools),
                    upstream=upstream,
                    recorder=recorder,
                    sleepers=sleepers,
                    clock_s=clock_s,
                    draws=random.Random(),
                ),
                recorder=recorder,
                status=Status(name, catalogue, part.pilot, fleet, sharing, pages, clock_s),
                admin=admin,
                bodies=BodyRoom(max(limits.bodies_bytes, limits.body_bytes)),
                tracing=traces,
                logged=settings.logs.requests,
            )
            yield ingress
            await ingress.drain(settings.router.drain_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await sleepers.stop()
            await sharing.exchange()
            if traces is not None:
                await asyncio.to_thread(traces.stop)


def _tolerance(resilience: ResilienceSettings) -> Tolerance:
    return Tolerance(resilience.breaker_failures, resilience.breaker_backoff_s, resilience.breaker_backoff_max_s)


def _budget(resilience: ResilienceSettings) -> RetryBudget:
    return RetryBudget(resilience.retry_share, resilience.retry_floor)


def _gate(queue: QueueSettings, fleet: Fleet, telemetry: Telemetry) -> Gate:
    return Gate(fleet, Waiting(queue.size, queue.wait_s, queue.priorities), queue.concurrency, telemetry)


def _pools_by_model(pools: Iterable[PoolSettings]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for pool in pools:
        found.setdefault(pool.model, set()).add(pool.name)
    return {model: frozenset(names) for model, names in found.items()}


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
        # What drains still answers: streams end, and probes hear that it is not ready.
        await self._running.__aexit__(None, None, None)
        self._app = None
        await send({"type": "lifespan.shutdown.complete"})
