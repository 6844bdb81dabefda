"""Pools and their replicas as routing sees them, marks that operators put on replicas, and reloading of engines."""

from collections import defaultdict
from dataclasses import dataclass

from engines.pool import PoolSettings
from engines.registry import Heartbeat
from policies.event import Event
from router.admin.reloading import Reloads, check_spared
from router.admin.routes import AnyRoute, Asked, Nothing, Said, Sentence, Taken, changing, reading
from router.errors import NotFound
from router.state.marks import Mark, MarkKind, Marks
from router.state.store import Clock, Store
from router.traffic.fleet import Fleet

FORGOTTEN_S = 24 * 3600
"""A mark on a replica that is gone is dropped after this: names of replicas do not come back."""

DONE = {"drain": "drained", "cordon": "cordoned", None: "uncordoned"}


class Why(Taken):
    """Why something is done."""

    why: Sentence = ""
    """One sentence for whoever asks later."""


class Forced(Why):
    """Why an engine is drained or reloaded, and whether whatever it costs."""

    force: bool = False
    """Also where no other replica of its model gets requests meanwhile."""


@dataclass(frozen=True, slots=True)
class EngineReplica:
    """One engine: what it announced, its breaker, an operator's mark, and whether it gets requests now.

    `drained` is true where it was marked so and nothing runs in it any more; `ready_since_s` (Unix) is when its engine
    was last verified and began to serve, 0 before; `reloadable` is false of a server by URL.
    """

    name: str
    pool: str
    state: str
    phase: str
    running: int
    waiting: int
    max_running: int
    kv_usage: float
    breaker: str
    heartbeat_s: float
    ready_since_s: float
    reloadable: bool
    receives: bool
    drained: bool
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class EnginePool:
    """Replicas with the same target and drafter; a pool of the settings is listed without any too."""

    name: str
    model: str
    target: str
    drafter: str | None
    method: str | None
    k_max: int
    replicas: list[EngineReplica]


@dataclass(frozen=True, slots=True)
class Engines:
    """Every pool, as this router sees it; `marks` are those of replicas that are gone."""

    router: str
    pools: list[EnginePool]
    marks: dict[str, Mark]


@dataclass(frozen=True, slots=True)
class EngineRoutes:
    """What there is of engines, and taking them out of traffic."""

    router: str
    pools: tuple[PoolSettings, ...]
    fleet: Fleet
    marks: Marks
    reloads: Reloads
    store: Store
    clock_s: Clock

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [
            reading("/engines", Engines, self.all, Nothing),
            changing("POST", "/engines/{replica}/drain", EngineReplica, self.drain, Forced, 409),
            changing("POST", "/engines/{replica}/cordon", EngineReplica, self.cordon, Why),
            changing("POST", "/engines/{replica}/uncordon", EngineReplica, self.uncordon, Why),
            changing("POST", "/engines/{replica}/reload", EngineReplica, self.reload, Forced, 409, status=202),
        ]

    async def all(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Pools and their replicas, with load, breaker and mark."""
        by_pool: dict[str, list[EngineReplica]] = defaultdict(list)
        beats = self.fleet.heartbeats()
        for replica in self._replicas(beats):
            by_pool[replica.pool].append(replica)
        named = {pool.name: _of_settings(pool) for pool in self.pools} | {beat.pool: _of_beat(beat) for beat in beats}
        pools = [EnginePool(name, *facts, by_pool[name]) for name, facts in sorted(named.items())]
        known = {beat.replica for beat in beats}
        gone = {name: mark for name, mark in self.fleet.marks.items() if name not in known}
        return Said(Engines(self.router, pools, gone))

    async def drain(self, asked: Asked[Nothing, Forced]) -> Said:
        """Send a replica no new requests, whatever others there are; those that run may finish."""
        check_spared(self.fleet, self._known(asked.place["replica"]), asked.body.force)
        return await self._put(asked, "drain")

    async def cordon(self, asked: Asked[Nothing, Why]) -> Said:
        """Send a replica no new requests as long as another of its model can take them."""
        return await self._put(asked, "cordon")

    async def uncordon(self, asked: Asked[Nothing, Why]) -> Said:
        """Take a replica's mark away."""
        replica = asked.place["replica"]
        if not await self.marks.remove(replica):
            self._known(replica)
        return await self._done(asked, None)

    async def reload(self, asked: Asked[Nothing, Forced]) -> Said:
        """End a replica's engine once it has finished what it runs, start it with the same settings, verify it."""
        replica = self._known(asked.place["replica"])
        await self.reloads.ask(replica, asked.body.force)
        why = f": {asked.body.why}" if asked.body.why else ""
        detail = f"{asked.who} has asked it to reload{why}"
        await self.store.emit([Event("engine_reload", replica.replica, self.clock_s(), detail)])
        return Said(self._replicas([replica])[0])

    async def _put(self, asked: Asked[Nothing, Forced] | Asked[Nothing, Why], kind: MarkKind) -> Said:
        replica, now_s = asked.place["replica"], self.clock_s()
        self._known(replica)
        await self._drop_old(now_s)
        await self.marks.put(replica, Mark(kind, asked.who, now_s, asked.body.why))
        return await self._done(asked, kind)

    async def _done(self, asked: Asked[Nothing, Forced] | Asked[Nothing, Why], kind: MarkKind | None) -> Said:
        # Here at once, so that the answer is true; in the other routers with their next exchange.
        self.fleet.marks = await self.marks.all()
        replica, why = asked.place["replica"], asked.body.why
        detail = f"{asked.who} has {DONE[kind]} it" + (f": {why}" if why else "")
        await self.store.emit([Event("engine_marked", replica, self.clock_s(), detail)])
        beats = [beat for beat in self.fleet.heartbeats() if beat.replica == replica]
        found = self._replicas(beats)
        return Said(found[0] if found else _gone(replica))

    async def _drop_old(self, now_s: float) -> None:
        known = {beat.replica for beat in self.fleet.heartbeats()}
        for name, mark in (await self.marks.all()).items():
            if name not in known and now_s - mark.at_s > FORGOTTEN_S:
                await self.marks.remove(name)

    def _known(self, replica: str) -> Heartbeat:
        beats = {beat.replica: beat for beat in self.fleet.heartbeats()}
        if replica not in beats:
            message = f"There is no replica {replica!r}; there are {', '.join(beats) or 'none'}."
            raise NotFound(message, param="replica", code="unknown_replica")
        return beats[replica]

    def _replicas(self, beats: list[Heartbeat]) -> list[EngineReplica]:
        seen = {one.name: one for model in {beat.model for beat in beats} for one in self.fleet.replicas(model)}
        breakers = {name: str(circuit) for _, name, circuit in self.fleet.circuits()}
        found = []
        for beat in beats:
            now, mark = seen[beat.replica], self.fleet.marks.get(beat.replica)
            idle = not (now.running or now.waiting)
            found.append(
                EngineReplica(
                    name=beat.replica,
                    pool=beat.pool,
                    state=beat.state,
                    phase=beat.phase,
                    running=now.running,
                    waiting=now.waiting,
                    max_running=beat.max_running,
                    kv_usage=beat.kv_usage,
                    breaker=breakers[beat.replica],
                    heartbeat_s=beat.clock_s,
                    ready_since_s=beat.ready_since_s,
                    reloadable=beat.reloadable,
                    receives=now.state == "ready",
                    drained=mark is not None and mark.kind == "drain" and idle,
                    mark=mark,
                )
            )
        return found


Facts = tuple[str, str, str | None, str | None, int]


def _of_settings(pool: PoolSettings) -> Facts:
    return pool.model, pool.target, pool.drafter, pool.method, pool.k_max


def _of_beat(beat: Heartbeat) -> Facts:
    return beat.model, beat.target, beat.drafter, beat.method, beat.k_max


def _gone(replica: str) -> EngineReplica:
    return EngineReplica(replica, "", "gone", "", 0, 0, 0, 0.0, "closed", 0.0, 0.0, False, False, True, None)
