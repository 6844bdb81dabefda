"""Keeping one router's local copy in step with what all routers share; never on a request's path."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from uuid import uuid4

from engines.registry import Heartbeat, Registry
from policies.event import Event
from policies.knowledge import Knowledge
from policies.learning import Lesson
from policies.records import Delta, Record
from router.observe.telemetry import Telemetry
from router.state.marks import Mark, Marks, MemoryMarks
from router.state.outage import Outage, logger
from router.state.pending import Batch, Pending, Writing, Written
from router.state.store import Changes, Clock, Copies, Cursor, LostError, Store, StoreError
from router.traffic.fleet import Fleet

READ_ALL_S = 60.0
"""How often everything is read anew: what expired is forgotten, and what a failover rolled back is seen."""

WRITTEN_KEPT_S = 10.0
"""How long after a write every router that is in touch with Redis, and every replica of Redis, has surely read it."""

INSTALLED_AT_ONCE = 50
"""Records taken over between two requests: about a millisecond."""


@dataclass(slots=True)
class Restoration:
    """Giving back what the store lost; the same under one name until it has succeeded.

    `included` is what waited to be written when the copies were made, and is in them.
    """

    copies: Copies
    included: Pending


class Sharing:
    """Writes what this router learnt, reads what others did, and reads who is there.

    While Redis is away the local copies stay as they are, and what is learnt waits, merged, until it is back. Each
    delta counts once, whatever is lost on the way: a batch has a name by which the store knows it again; after a loss
    of data each record is given back by one router, to which the others add what that one had not read; and after an
    outage what was written just before it is written again, for a server that took over may not have had it.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        knowledge: Knowledge,
        fleet: Fleet,
        telemetry: Telemetry,
        clock_s: Clock,
        marks: Marks | None = None,
        roll_call: Callable[[], Awaitable[list[Heartbeat]]] | None = None,
        pools: Collection[str] = (),
    ) -> None:
        """`roll_call` asks the engines themselves who is there, for as long as the registry cannot be read; `pools` are
        those that should have replicas."""
        self._pools = pools
        self._store = store
        self._registry = registry
        self._marks = marks or MemoryMarks()
        self._roll_call = roll_call
        self._knowledge = knowledge
        self._fleet = fleet
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._pending = Pending()
        self._sending: Batch | None = None
        self._restoring: Restoration | None = None
        self._written = Written()
        self._cursor = Cursor()
        self._versions: dict[str, int] = {}
        self._read_all_s = 0.0
        self._outage = Outage()
        self._ignored: Counter[str] = Counter()
        self.synced_s: float | None = None
        self.heard = asyncio.Event()
        """Set once the registry was read or an engine has answered: until then this router knows none."""

    def learn(self, lesson: Lesson) -> None:
        """Use a lesson here at once and let the other routers have it with the next exchange."""
        self._knowledge.absorb(lesson.deltas, self._clock_s())
        self._pending.add(lesson.deltas)
        self._pending.note(lesson.events)

    def announce(self, event: Event) -> None:
        """Tell operators of something with the next exchange."""
        self._pending.note([event])

    async def run(self, every_s: float) -> None:
        """Exchange with the store until cancelled."""
        task = asyncio.current_task()
        # Asked each round: redis-py may swallow a cancellation that meets one of its own timeouts.
        while task is not None and not task.cancelling():
            await self.exchange()
            await asyncio.sleep(self._outage.pause_s(every_s))

    async def exchange(self) -> None:
        """One round: read, then write; a store that is away, or makes no sense, is counted and said once a minute."""
        try:
            # A store that takes no writes hears no heartbeats either: that none is in it says nothing of the engines.
            now, beats, marks = await asyncio.gather(
                self._store.position(), self._registry.replicas(), self._marks.all()
            )
            # Engines first: records that cannot be read must not hide them.
            self._meet(beats, marks)
            if self._outage.lasts or self._fell_behind(now):
                await self._write_again()
            await self._finish()
            await self._read(now)
            await self._write()
        except LostError:
            pass  # the next round reads the new generation and gives back what was lost
        except StoreError as error:
            self._away(f"Redis is away, going on with what is held: {error}")
            await self._ask_engines()
        except Exception as error:
            # This loop is all that keeps routers in step: whatever another version wrote must not end it.
            self._away(f"Redis holds what cannot be read: {type(error).__name__}: {error}")
        else:
            self._succeeded()
        self._telemetry.knowledge_age.set(self._clock_s() - self.synced_s if self.synced_s is not None else 0.0)
        self._count_ignored()

    async def _ask_engines(self) -> None:
        """Hear from the engines themselves; one that says nothing is not thereby gone."""
        beats = await self._roll_call() if self._roll_call is not None else []
        if beats:
            self._fleet.update(beats, complete=False)
            self._count_replicas()
            self.heard.set()

    def _fell_behind(self, now: Cursor) -> bool:
        """Whether the store lost the latest changes, and nothing else."""
        return now.generation == self._cursor.generation and now.version < self._cursor.version

    async def _write_again(self) -> None:
        """Have the store know the batches of the last seconds, and read all of it: versions may mean other changes."""
        with contextlib.suppress(LostError):
            for writing in list(self._written.all()):
                versions = await self._store.merge(writing.deltas, writing.name, self._cursor.generation)
                self._written.add(replace(writing, versions=versions))
        self._cursor = Cursor(self._cursor.generation)

    async def _finish(self) -> None:
        """Send again what may have been written already: read before that is known, it would count twice here."""
        if self._sending is not None:
            with contextlib.suppress(LostError):
                await self._write()

    def _meet(self, beats: list[Heartbeat], marks: Mapping[str, Mark]) -> None:
        self._fleet.update(beats)
        self._fleet.marks = marks
        self.heard.set()
        self._count_replicas()

    async def _read(self, now: Cursor) -> None:
        if self._clock_s() - self._read_all_s > READ_ALL_S:
            self._cursor = Cursor(self._cursor.generation)
        if now == self._cursor and self._restoring is None:
            return  # five times a second on an idle router, where a question costs as much as a streamed token
        changes = await self._store.changes(self._cursor)
        if self._restoring is None and self._lost(changes):
            self._restoring = self._copies()
        if self._restoring is not None:
            await self._restore(self._restoring, changes.cursor.generation)
            changes = await self._store.changes(Cursor())
        await self._install(changes)

    def _lost(self, changes: Changes) -> bool:
        held = self._cursor.generation
        return held not in ("", changes.cursor.generation) and bool(self._knowledge.records)

    def _copies(self) -> Restoration:
        copies = Copies(uuid4().hex[:12], self._cursor.generation, dict(self._knowledge.records), dict(self._versions))
        included, self._pending = self._pending, Pending()
        return Restoration(copies, included)

    async def _restore(self, restoration: Restoration, generation: str) -> None:
        restored = await self._store.restore(restoration.copies, generation)
        again = Pending()
        for key, place in restored.others.items():
            again.add(self._written.since(key, restoration.copies.generation, place))
        if self._sending is not None:
            self._sending.pending.drop(restored.ours)
        restoration.included.drop(restored.ours)
        again.add(restoration.included.all())
        again.add(self._pending.all())
        again.note([*restoration.included.events, *self._pending.events])
        self._pending, self._restoring = again, None
        self._written.clear()
        self._versions = {}
        logger.warning("Redis had lost its data: %d records were given back", len(restored.ours))

    async def _install(self, changes: Changes) -> None:
        """Take over what the store sent, a part at a time, and with it what is not in it yet: our own latest."""
        unwritten = self._unwritten()
        for part in _parts(changes.records, INSTALLED_AT_ONCE):
            now_s = self._clock_s()
            self._knowledge.install(part, now_s)
            self._knowledge.absorb((delta for key in part for delta in unwritten.get(key, ())), now_s)
            await asyncio.sleep(0)
            unwritten = self._unwritten()
        if changes.complete:
            self._read_all_s = self._clock_s()
            expired = self._knowledge.records.keys() - changes.records.keys() - unwritten.keys()
            self._knowledge.forget(expired)
            self._versions = {}
        self._versions |= changes.versions
        self._cursor = changes.cursor

    def _unwritten(self) -> Mapping[str, list[Delta]]:
        if self._sending is None:
            return self._pending.deltas
        sending, waiting = self._sending.pending.deltas, self._pending.deltas
        return {key: [*sending.get(key, ()), *waiting.get(key, ())] for key in [*sending, *waiting]}

    async def _write(self) -> None:
        if self._sending is None and (self._pending.deltas or self._pending.events):
            self._sending, self._pending = Batch(uuid4().hex, self._pending), Pending()
        if self._sending is None:
            return
        name, pending = self._sending.name, self._sending.pending
        if deltas := pending.all():
            versions = await self._store.merge(deltas, name, self._cursor.generation)
            self._written.add(Writing(name, self._clock_s(), deltas, versions))
            pending.deltas = {}
        if pending.events:
            for event in await self._store.emit(pending.events, name):
                self._telemetry.events.labels(event.kind).inc()
            pending.events = []
        self._sending = None

    def _count_ignored(self) -> None:
        for reason, total in self._knowledge.ignored.items():
            self._telemetry.ignored.labels(reason).inc(total - self._ignored[reason])
            self._ignored[reason] = total

    def _succeeded(self) -> None:
        self.synced_s = self._clock_s()
        self._written.forget(self.synced_s - WRITTEN_KEPT_S)
        self._outage.ended(time.monotonic())
        self._telemetry.redis_up.set(1)

    def _away(self, why: str) -> None:
        self._telemetry.redis_up.set(0)
        self._telemetry.redis_errors.inc()
        self._outage.failed(why, time.monotonic())

    def _count_replicas(self) -> None:
        self._telemetry.replicas.clear()
        for pool in self._pools:
            self._telemetry.replicas.labels(pool, "ready").set(0)  # one that has none is told of, too
        for pool, state in self._fleet.states():
            self._telemetry.replicas.labels(pool, state).inc()
        self._telemetry.breakers.clear()
        for pool, _, circuit in self._fleet.circuits():
            self._telemetry.breakers.labels(pool, str(circuit)).inc()


def _parts(records: Mapping[str, Record], size: int) -> Iterator[dict[str, Record]]:
    items = iter(records.items())
    while part := dict(islice(items, size)):
        yield part
