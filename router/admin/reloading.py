"""Whether a replica's engine may be ended and started anew now, and asking the replica to do so."""

from dataclasses import dataclass

from engines.pool import PoolSettings
from engines.registry import Heartbeat, Registry
from router.admin.errors import Conflict
from router.traffic.fleet import Fleet

TURN_S = 5.0
"""One replica of a model after the other: by then every router has heard that the one before drains."""


@dataclass(frozen=True, slots=True)
class Reloads:
    """Reloading of engines: the replica drains, starts its engine with the same settings, and verifies it."""

    pools: tuple[PoolSettings, ...]
    fleet: Fleet
    registry: Registry

    async def ask(self, replica: Heartbeat, force: bool) -> None:
        """Have it done; raises Conflict with what stands against it, StoreError where the replica cannot be told."""
        self._check_runs_here(replica)
        if replica.state != "ready":
            what = f"{replica.state} ({replica.phase})" if replica.phase else replica.state
            raise Conflict(
                f"{replica.replica!r} is {what}: only a replica that is ready can be reloaded.",
                param="replica",
                code="wrong_state",
            )
        serves = check_spared(self.fleet, replica, force)
        turn = replica.model if serves and not force else ""
        if not await self.registry.ask_reload(replica.replica, turn, TURN_S):
            raise Conflict(
                f"Another replica of the model {replica.model!r} was told to reload less than {TURN_S:.0f} s ago: "
                "wait until it is ready again.",
                param="replica",
                code="reload_in_progress",
            )

    def _check_runs_here(self, replica: Heartbeat) -> None:
        by_url = any(pool.name == replica.pool and pool.engine == "url" for pool in self.pools)
        if by_url:
            raise Conflict(
                f"{replica.replica!r} is a server by URL ({replica.url}): Alpharoute watches it and does not run it. "
                "Restart it where it runs; it is left out meanwhile, verified again and taken back by itself.",
                param="replica",
                code="not_supervised",
            )
        if not replica.reloadable:
            raise Conflict(
                f"{replica.replica!r} does not say that it can be reloaded: it is of an older version.",
                param="replica",
                code="not_supervised",
            )


def check_spared(fleet: Fleet, replica: Heartbeat, force: bool) -> bool:
    """Raise Conflict where the replica is the only one of its model that gets requests, unless that is forced; whether
    it gets any."""
    receives = {one.name: one.state == "ready" for one in fleet.replicas(replica.model)}
    serves = receives.pop(replica.replica)
    if serves and not force and not any(receives.values()):
        raise Conflict(
            f"{replica.replica!r} is the only replica of the model {replica.model!r} that gets requests: they would be "
            "refused until it is back. Add a replica first, or force it: force: true, --force on the command line.",
            param="force",
            code="last_replica",
        )
    return serves
