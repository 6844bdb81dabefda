"""The Serve application: the router at `/` and one deployment per engine pool.

`router.local.service` runs it on one machine. These two are this room's only files with Ray.
"""

import functools
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from ray import serve
from ray.serve import Application as ServeApplication
from ray.serve.handle import DeploymentHandle

from engines.loopback import keep_to_loopback
from engines.member import Announcing
from engines.registry import Registry
from engines.replica import deployment_of
from router.access.door import DoorStores, guarded
from router.access.exposure import check_cluster
from router.access.guard import App
from router.access.redis_door import RedisKeyStore, RedisUsageStore
from router.admin.redis_trend import RedisTrend
from router.admin.wiring import AdminStores
from router.collecting import search_seldom
from router.config.load import refuse_unknown_variables
from router.config.settings import EMBEDDED, RedisSettings, Settings
from router.data_path import slower_path
from router.errors import SetupError
from router.observe.logs import configure_logging
from router.observe.redis_pages import RedisBoard
from router.one_id import unnamed
from router.service import Application, running_ingress
from router.state.redis_choices import RedisChoices
from router.state.redis_client import connect_to
from router.state.redis_marks import RedisMarks
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore
from router.state.roll_call import RollCall
from router.state.together import Together
from router.steering.running import redis_stores
from router.tasks import load_classifier
from router.unread import closing_unread

logger = logging.getLogger("alpharoute")

ROUTER_CPUS = 0.1
"""Reserved for a router replica: it waits more than it works, and must fit beside engines on a small machine."""

MOST_QUEUED = 100
"""Requests beyond `max_ongoing_requests` that wait at a replica; others are a 503 at once, where they would hang."""


@asynccontextmanager
async def _over_redis(settings: Settings, pools: Mapping[str, DeploymentHandle]) -> AsyncIterator[App]:
    redis = connect_to(settings.redis)
    keys = Keys(settings.redis.prefix)
    together = Together(redis)
    store, registry = RedisStore(redis, keys, together=together), RedisRegistry(redis, keys, together)
    try:
        classifier, name = load_classifier(settings.classifier), serve.get_replica_context().replica_id.unique_id[:6]
        stores = DoorStores(RedisKeyStore(redis, keys), RedisUsageStore(redis, keys))
        steering = redis_stores(redis, keys, settings.decisions)
        choices = RedisChoices(redis, keys)
        shared = AdminStores(RedisMarks(redis, keys, together), RedisTrend(redis, keys), stores.keys, steering, choices)
        async with (
            running_ingress(
                settings,
                store,
                registry,
                classifier,
                name=name.lower(),
                board=RedisBoard(redis, keys),
                shared=shared,
                roll_call=RollCall(list(pools.values())),
                call_back=functools.partial(_call_back, pools),
            ) as ingress,
            guarded(
                ingress, ingress.recorder.telemetry, settings.auth, settings.admin, stores, time.time, name.lower()
            ) as guard,
        ):
            # One that knows no engine yet would answer 503 where others serve.
            await ingress.recorder.sharing.heard.wait()
            yield unnamed(closing_unread(guard))
    finally:
        await redis.aclose()


async def _call_back(pools: Mapping[str, DeploymentHandle], pool: str) -> None:
    """A call through its handle is what makes Serve start a replica of a deployment that has none; it ends once one
    has answered."""
    await pools[pool].present.remote()


def connect_registry(redis: RedisSettings) -> Registry:
    """The registry, made inside the process that uses it."""
    return RedisRegistry(connect_to(redis), Keys(redis.prefix))


@serve.ingress()
class Router:
    """One router replica."""

    def __init__(self, settings: Settings, *pools: DeploymentHandle) -> None:
        """`pools` are the engines' deployments, in the settings' order: asked who is there while Redis is away, and
        called back when they sleep; no token passes there."""
        keep_to_loopback()
        configure_logging(settings.logs, "router")
        self._settings = settings
        self._pools = {pool.name: handle for pool, handle in zip(settings.pools, pools, strict=True)}

    async def __serve_build_asgi_app__(self) -> Application:
        application = Application(_over_redis(self._settings, self._pools))
        await application.start()
        search_seldom()
        return application


def build_app(settings: Settings) -> ServeApplication:
    """The whole product as one Serve application; `serve deploy` calls it with the settings as `args`.

    Raises SetupError where `redis.url` is not a server that all replicas reach, everybody could come in, or an
    ALPHAROUTE_ variable is no setting.
    """
    refuse_unknown_variables()
    check_cluster(settings)
    return application_of(settings)


def application_of(settings: Settings) -> ServeApplication:
    """The same for whoever has seen to it who reaches the address that Serve listens on."""
    for warning in slower_path(os.environ):
        logger.warning("%s", warning)
    if settings.redis.url.get_secret_value() == EMBEDDED:
        raise SetupError(
            "redis.url is 'embedded': only `alpharoute serve` starts a Redis itself. "
            "Set redis.url (ALPHAROUTE_REDIS__URL) to a server that every node reaches."
        )
    announcing = Announcing(settings.router.heartbeat_s, settings.router.heartbeat_ttl_s)
    registry = functools.partial(connect_registry, settings.redis)
    logs = functools.partial(configure_logging, settings.logs)
    pools = [
        deployment_of(pool).bind(pool, settings.router.engine_host, announcing, registry, logs)
        for pool in settings.pools
    ]
    router = serve.deployment(
        Router,
        name="router",
        num_replicas=settings.router.replicas,
        max_ongoing_requests=settings.router.max_ongoing_requests,
        max_queued_requests=MOST_QUEUED,
        ray_actor_options={"num_cpus": ROUTER_CPUS},
        graceful_shutdown_timeout_s=settings.router.drain_s,
        # Serve's line per request says less than `logs.requests` does, and takes 3 % of a router's CPU under load: two
        # thirds of that before it is filtered off, unless the level is above it.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    return router.bind(settings, *pools)
