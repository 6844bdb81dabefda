"""Wiring of the Admin API: what routers share for it, and its routes over what one router knows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from engines.registry import Registry
from policies.knowledge import Knowledge
from router.access.shared_keys import KeyStore, MemoryKeyStore
from router.admin.acceptance import AcceptanceRoutes
from router.admin.api import AdminApi
from router.admin.classifier import ClassifierRoutes
from router.admin.decisions import DecisionRoutes
from router.admin.engines import EngineRoutes
from router.admin.events import EventRoutes
from router.admin.keys import KeyRoutes
from router.admin.overview import OverviewRoutes
from router.admin.policies import PolicyRoutes
from router.admin.reloading import Reloads
from router.admin.setup import SettingsRoutes
from router.admin.trend import MemoryTrend, Trend, TrendStore
from router.config.settings import Settings
from router.observe.pages import Pages
from router.state.choices import Choices, MemoryChoices
from router.state.marks import Marks, MemoryMarks
from router.state.store import Clock, Store
from router.steering.running import Helm, SteeringStores, memory_stores
from router.tasks import Kept
from router.traffic.deployed import deployed
from router.traffic.fleet import Fleet


@dataclass(frozen=True, slots=True)
class AdminStores:
    """Where routers share what operators see and steer; in memory unless given."""

    marks: Marks = field(default_factory=MemoryMarks)
    trend: TrendStore = field(default_factory=MemoryTrend)
    keys: KeyStore = field(default_factory=MemoryKeyStore)
    steering: SteeringStores = field(default_factory=memory_stores)
    choices: Choices = field(default_factory=MemoryChoices)


@dataclass(frozen=True, slots=True)
class Watched:
    """What one router knows, for its operators to see."""

    router: str
    settings: Settings
    classifier: Kept
    knowledge: Knowledge
    fleet: Fleet
    pages: Pages
    store: Store
    registry: Registry
    clock_s: Clock


@contextlib.asynccontextmanager
async def administered(watched: Watched, helm: Helm, stores: AdminStores) -> AsyncIterator[AdminApi]:
    """The Admin API of a router, whose acceptance is noted every minute for as long as the context lasts."""
    trend = Trend(stores.trend, watched.knowledge, watched.clock_s)
    writing = asyncio.create_task(trend.run())
    try:
        yield admin_api(watched, helm, stores, trend)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


def admin_api(watched: Watched, helm: Helm, stores: AdminStores, trend: Trend) -> AdminApi:
    """Every route there is."""
    name, settings, clock_s = watched.router, watched.settings, watched.clock_s
    reloads = Reloads(settings.pools, watched.fleet, watched.registry)
    parts = (
        PolicyRoutes(helm.steering, lambda: deployed(settings, watched.fleet, watched.classifier.classifier.tasks)),
        DecisionRoutes(helm.log),
        AcceptanceRoutes(name, watched.knowledge, trend),
        OverviewRoutes(watched.pages, clock_s),
        EngineRoutes(name, settings.pools, watched.fleet, stores.marks, reloads, watched.store, clock_s),
        EventRoutes(watched.store),
        ClassifierRoutes(name, watched.classifier, watched.store, clock_s),
        KeyRoutes(settings, stores.keys, clock_s),
        SettingsRoutes(settings),
    )
    routes = [route for part in parts for route in part.routes()]
    return AdminApi(routes, settings.limits.body_bytes, settings.limits.body_s)
