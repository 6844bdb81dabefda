"""A pool as a Ray Serve deployment: each replica runs an engine; Serve replaces the replica when its engine dies."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray import serve
from ray.serve import Deployment

from engines.autoscaling import REQUESTS
from engines.demo.build import build_demo_pair, default_folder
from engines.engine import Engine, SimulatorEngine
from engines.loopback import keep_to_loopback
from engines.member import Announcing, Member
from engines.plan import serve_options
from engines.pool import DEMO, PoolSettings
from engines.registry import Registry
from engines.vllm_server import EngineServer
from engines.watched import Watched

logger = logging.getLogger("alpharoute.engines")

HEALTH_CHECK_S = 2.0
STOP_S = 30.0
"""Time to end an engine after it was drained."""


class EngineReplica:
    """One Serve replica: one engine, or every server of a pool by url."""

    def __init__(self, pool: PoolSettings, host: str, announcing: Announcing, connect: Callable[[], Registry]) -> None:
        """`host` is the address engines listen on; `connect` makes the registry inside the replica's process."""
        self._pool = pool
        self._host = host
        self._announcing = announcing
        self._connect = connect
        self._members: list[Member | Watched] = []

    async def start(self) -> None:
        """Bring the engines up; Serve shows what this raises as the reason why the deployment failed."""
        pool = await asyncio.to_thread(resolve_demo, self._pool)
        registry = self._connect()
        own = serve.get_replica_context().replica_id.unique_id[:6].lower()
        name = f"{pool.name}-{own}"
        if pool.engine == "url":
            self._members = [
                Watched(f"{name}-{i}", pool, url, registry, self._announcing) for i, url in enumerate(pool.urls)
            ]
        else:
            self._members = [Member(name, pool, engine_of(pool, self._host), registry, self._announcing)]
        await asyncio.gather(*(member.join() for member in self._members))

    async def check_health(self) -> None:
        """Serve asks this every `HEALTH_CHECK_S`; a dead engine makes it replace the replica."""
        for member in self._members:
            if member.failure is not None:
                raise RuntimeError(f"{member.name}: {member.failure}")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks this of a pool that autoscales: no request comes through Serve, so it cannot count them itself."""
        return {REQUESTS: sum(member.load.running + member.load.waiting for member in self._members)}

    async def present(self) -> list[str]:
        """What each engine that answered lately announced last, as JSON: for routers that cannot read the registry."""
        since_s = time.time() - self._announcing.ttl_s
        said = (member.said for member in self._members if member.failure is None)
        return [beat.model_dump_json() for beat in said if beat is not None and beat.clock_s > since_s]

    async def __del__(self) -> None:
        """Serve calls this once on shutdown, also where `__init__` failed."""
        members = getattr(self, "_members", [])
        left = await asyncio.gather(*(member.leave(self._pool.drain_s) for member in members), return_exceptions=True)
        for member, failure in zip(members, left, strict=True):
            if isinstance(failure, BaseException):
                logger.error("%s did not leave cleanly", member.name, exc_info=failure)


def engine_of(pool: PoolSettings, host: str) -> Engine:
    """The engine that a replica of the pool runs."""
    if pool.engine == "simulator":
        return SimulatorEngine(pool, host, secrets.token_urlsafe(24))
    log_dir = os.environ.get("ALPHAROUTE_LOG_DIR")
    log_file = Path(log_dir) / f"{pool.name}-{os.getpid()}.log" if log_dir else None
    return EngineServer(pool, host=host, log_file=log_file)


def resolve_demo(pool: PoolSettings) -> PoolSettings:
    """The pool with the demo pair's folders in place of the word; built here where it is not cached yet."""
    if pool.engine != "vllm" or DEMO not in (pool.target, pool.drafter):
        return pool
    pair = build_demo_pair(default_folder())
    target = str(pair.target) if pool.target == DEMO else pool.target
    drafter = str(pair.draft) if pool.drafter == DEMO else pool.drafter
    return pool.model_copy(update={"target": target, "drafter": drafter})


def engine_host(bind: str) -> str:
    """The address engines listen on: `bind`, or for "node" this node's own address, which other nodes reach."""
    return ray.util.get_node_ip_address() if bind == "node" else bind


def deployment_of(pool: PoolSettings) -> Deployment:
    """The Serve deployment of a pool, with its resources, its limits and how many replicas it has."""
    return serve.deployment(
        _Deployed,
        name=f"engine-{pool.name}",
        **serve_options(pool),
        health_check_period_s=HEALTH_CHECK_S,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=pool.drain_s + STOP_S,
        graceful_shutdown_wait_loop_s=0.5,
    )


class _Deployed(EngineReplica):
    """What Serve constructs: the same, started."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        pool: PoolSettings,
        bind: str,
        announcing: Announcing,
        connect: Callable[[], Registry],
        open_log: Callable[[str], None],
    ):
        keep_to_loopback()
        open_log(f"engine-{pool.name}")
        super().__init__(pool, engine_host(bind), announcing, connect)
        await self.start()
