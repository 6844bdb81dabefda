"""A pool that has no replica because nobody wants one: what is left of it in the registry, by which it is missed."""

import contextlib

from engines.pool import PoolSettings
from engines.registry import Heartbeat, Registry

REMEMBERED_S = 30 * 86_400.0


async def fall_asleep(pool: PoolSettings, said: Heartbeat, registry: Registry) -> None:
    """Leave word of what a pool that may sleep was like, as its last replica says; no other of it is there.

    Nothing is raised: a registry that is away forgets it, routers that run remember.
    """
    if pool.autoscaling.idle_s is None:
        return
    with contextlib.suppress(Exception):
        if not any(beat.pool == pool.name and beat.replica != said.replica for beat in await registry.replicas()):
            await registry.announce(
                said.model_copy(update={"state": "asleep", "api_key": None, "reloadable": False}), REMEMBERED_S
            )


async def wake_up(pool: PoolSettings, registry: Registry) -> None:
    """Take that back, for a replica is there again; nothing is raised, for routers heed it no longer in any case."""
    if pool.autoscaling.idle_s is None:
        return
    with contextlib.suppress(Exception):
        for beat in await registry.replicas():
            if beat.pool == pool.name and beat.state == "asleep":
                await registry.withdraw(beat.replica)
