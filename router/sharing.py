"""Keeping one router's local copy in step with what all routers share; never on a request's path."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from engines.registry import Registry
from policies.knowledge import Knowledge
from policies.learning import Lesson
from policies.records import Delta, merge
from policies.words import Event
from router.fleet import Fleet
from router.store import Clock, Store, StoreError
from router.telemetry import Telemetry

logger = logging.getLogger("alpharoute.sharing")

LOG_EVERY_S = 60.0
EVENTS_HELD = 1_000


class Pending:
    """What was learnt and not yet written; deltas of one record are merged, so it grows with records, not requests."""

    def __init__(self) -> None:
        self.deltas: dict[str, list[Delta]] = {}
        self.events: list[Event] = []

    def add(self, deltas: Sequence[Delta]) -> None:
        """Put deltas behind those that wait."""
        for delta in deltas:
            waiting = self.deltas.setdefault(delta.key, [])
            merged = merge(waiting[-1], delta) if waiting else None
            if merged is None:
                waiting.append(delta)
            else:
                waiting[-1] = merged

    def all(self) -> list[Delta]:
        """Everything that waits, in order within each record."""
        return [delta for waiting in self.deltas.values() for delta in waiting]

    def drop(self, keys: Iterable[str]) -> None:
        """Forget what waits for these records."""
        for key in keys:
            self.deltas.pop(key, None)


@dataclass(slots=True)
class Batch:
    """Deltas on their way; kept as they are, under one name, until the store has said that it has them."""

    name: str
    pending: Pending


class Sharing:
    """Writes what this router learnt, reads what others did, and reads who is there.

    While Redis is away the local copies stay as they are, and what is learnt waits, merged, until it is back.
    """

    def __init__(
        self, store: Store, registry: Registry, knowledge: Knowledge, fleet: Fleet, telemetry: Telemetry, clock_s: Clock
    ) -> None:
        self._store = store
        self._registry = registry
        self._knowledge = knowledge
        self._fleet = fleet
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._pending = Pending()
        self._sending: Batch | None = None
        self._cursor = 0
        self._quiet_until_s = 0.0
        self.synced_s: float | None = None

    def learn(self, lesson: Lesson) -> None:
        """Use a lesson here at once and let the other routers have it with the next exchange."""
        self._knowledge.absorb(lesson.deltas, self._clock_s())
        self._pending.add(lesson.deltas)
        self._pending.events = (
            [*self._pending.events, *lesson.events][-EVENTS_HELD:] if lesson.events else self._pending.events
        )

    async def run(self, every_s: float) -> None:
        """Exchange with the store until cancelled."""
        task = asyncio.current_task()
        # Asked each round: redis-py may swallow a cancellation that meets one of its own timeouts.
        while task is not None and not task.cancelling():
            await self.exchange()
            await asyncio.sleep(every_s)

    async def exchange(self) -> None:
        """One round: read, then write; a store that is away, or makes no sense, is counted and said once a minute."""
        try:
            await self._read()
            await self._write()
        except StoreError as error:
            self._away(f"Redis is away, going on with what is held: {error}")
        except Exception as error:
            # This loop is all that keeps routers in step: whatever another version wrote must not end it.
            self._away(f"Redis holds what cannot be read: {type(error).__name__}: {error}")
        else:
            self.synced_s = self._clock_s()
            self._telemetry.redis_up.set(1)
        self._telemetry.knowledge_age.set(self._clock_s() - self.synced_s if self.synced_s is not None else 0.0)

    async def _read(self) -> None:
        # Engines first: records that cannot be read must not hide them.
        self._fleet.update(await self._registry.replicas())
        self._count_replicas()
        changes = await self._store.changes(self._cursor)
        if changes.cursor < self._cursor:
            await self._restore()
            changes = await self._store.changes(0)
        now_s = self._clock_s()
        self._knowledge.install(changes.records, now_s)
        # What was learnt and not yet written is not in what the store sent.
        self._knowledge.absorb((delta for delta in self._unwritten() if delta.key in changes.records), now_s)
        self._cursor = changes.cursor

    def _unwritten(self) -> list[Delta]:
        return [*(self._sending.pending.all() if self._sending else ()), *self._pending.all()]

    async def _restore(self) -> None:
        """The store lost its data: give back what is held here, where no other router has done so yet.

        Our own records already include what waits to be written to them.
        """
        included = self._take()
        restored: Collection[str] = ()
        try:
            restored = await self._store.restore(self._knowledge.records)
        finally:
            included.drop(restored)
            self._put_back(included)
        logger.warning("Redis had lost its data: %d records were written back", len(restored))

    async def _write(self) -> None:
        if self._sending is None and (self._pending.deltas or self._pending.events):
            self._sending = Batch(uuid4().hex, self._take())
        if self._sending is None:
            return
        name, pending = self._sending.name, self._sending.pending
        if pending.deltas:
            await self._store.merge(pending.all(), name)
            pending.deltas = {}
        if pending.events:
            await self._store.emit(pending.events)
        self._sending = None

    def _take(self) -> Pending:
        """Everything that waits, of a batch that was not finished too."""
        taken, self._pending = self._pending, Pending()
        if self._sending is not None:
            unfinished, self._sending = self._sending.pending, None
            unfinished.add(taken.all())
            unfinished.events += taken.events
            return unfinished
        return taken

    def _put_back(self, taken: Pending) -> None:
        later, self._pending = self._pending, taken
        self._pending.add(later.all())
        self._pending.events = [*taken.events, *later.events][-EVENTS_HELD:]

    def _away(self, why: str) -> None:
        self._telemetry.redis_up.set(0)
        self._telemetry.redis_errors.inc()
        if time.monotonic() >= self._quiet_until_s:
            self._quiet_until_s = time.monotonic() + LOG_EVERY_S
            logger.warning("%s", why)

    def _count_replicas(self) -> None:
        self._telemetry.replicas.clear()
        for heartbeat in self._fleet.heartbeats():
            self._telemetry.replicas.labels(heartbeat.pool, heartbeat.state).inc()
        self._telemetry.breakers.clear()
        for pool, _, circuit in self._fleet.circuits():
            self._telemetry.breakers.labels(pool, str(circuit)).inc()
