"""From what one router and one Redis were measured to pay, to clusters that do not fit on this machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scale.measure import Cost
from router.config.settings import RouterSettings

PER_ROUTER = 300
"""Requests per second that a router is planned for: half of what `python -m bench.overhead` measures of one alone."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Engine replicas, and the requests per second that they answer together."""

    replicas: int
    requests_per_s: int


CLUSTERS = (Cluster(10, 100), Cluster(100, 1_000), Cluster(1_000, 10_000), Cluster(1_000, 100_000))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the cluster costs: shares of one core for exchanges in each router and for Redis, megabytes, and what gives
    first."""

    replicas: int
    requests_per_s: int
    routers: int
    exchange_share: float
    redis_share: float
    redis_mb_per_s: float
    mib_per_router: float
    first: str


def estimate(cluster: Cluster, costs: Sequence[Cost]) -> Estimate:
    """Multiply: each router exchanges five times a second, each costs the one Redis the same."""
    cost = min((c for c in costs if c.replicas >= cluster.replicas), key=lambda c: c.replicas)
    routers = math.ceil(cluster.requests_per_s / PER_ROUTER)
    per_s = 1 / RouterSettings().sync_s
    mib = (cost.kib_per_replica * cluster.replicas + cost.kib_per_record * cost.records) / 1024
    found = {
        "router": cost.exchange_ms / 1e3 * per_s,
        "Redis": cost.redis_ms / 1e3 * per_s * routers,
        "Redis' network": cost.redis_kib * 1024 * per_s * routers / 1.25e9,  # of 10 Gbit/s
    }
    first = max(found, key=lambda name: found[name])
    megabytes = cost.redis_kib * 1024 * per_s * routers / 1e6
    said = f"{first} ({found[first]:.0%})" if found[first] > 0.5 else "nothing"
    return Estimate(
        cluster.replicas, cluster.requests_per_s, routers, found["router"], found["Redis"], megabytes, mib, said
    )
