"""What the routers share, as a seam: records of decayed sums and events; and its in-memory implementation."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from engines.registry import Heartbeat
from policies.event import Event
from policies.records import EMPTY, Delta, Record, apply


class StoreError(Exception):
    """The store could not be reached or refused; what was to be written may be written again later."""


class LostError(StoreError):
    """The store has lost its data since it was last read: read it first, and give back what is held."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a store was read: `version` counts changes within a `generation`, which ends when the data is lost.

    Names of generations sort by their beginning.
    """

    generation: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Records that changed after a cursor, each with the version of its last change, and from where to ask next.

    `complete` says that these are all records there are, so that others held elsewhere have expired.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    cursor: Cursor = Cursor()
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Logged:
    """An event in the log; ids sort by when they were written."""

    id: str
    event: Event


@dataclass(frozen=True, slots=True)
class Copies:
    """Records to give back after a loss: `name` tells one attempt from another's, `generation` is the one lost.

    `versions` are those at which the records were read; a record that was never read has none.
    """

    name: str
    generation: str
    records: Mapping[str, Record]
    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Restored:
    """Whose copy each record is now: `ours`; another's, by the place it was read at; or it was never lost (neither)."""

    ours: frozenset[str] = frozenset()
    others: Mapping[str, Cursor] = field(default_factory=dict)


def new_generation() -> str:
    """A name for a generation that begins now."""
    return f"{time.time_ns():016x}-{uuid4().hex[:4]}"


class Store(Protocol):
    """Shared records; every method may raise StoreError."""

    async def position(self) -> Cursor:
        """Where the store is now; raises StoreError also where it can be read but not written."""

    async def merge(self, deltas: Sequence[Delta], batch: str = "", generation: str = "") -> Sequence[int]:
        """Apply each delta to its record, as `policies.records.apply` does; the version that each delta makes.

        A named batch counts once, so that one whose answer was lost may be sent again. Raises LostError, and does
        nothing, where a generation is given and the store is in another.
        """

    async def changes(self, cursor: Cursor) -> Changes:
        """Records changed since `cursor`: all of them where it is of another generation, ahead, or at version 0."""

    async def restore(self, copies: Copies, generation: str) -> Restored:
        """Give back records that were lost, each once however many routers do; may be repeated under its name.

        Raises LostError where the store is not in `generation`, the new one.
        """

    async def emit(self, events: Sequence[Event], batch: str = "") -> Sequence[Event]:
        """Append events to a log that keeps the newest; those that nobody had told of before.

        Of events with the same kind and `once` the log takes the first. A named batch counts once, as in `merge`.
        """

    async def logged(self, count: int, before: str = "") -> Sequence[Logged]:
        """The newest events, newest first; with `before` those older than that id."""


BATCHES_KEPT = 256
EVENTS_TOLD = 1_000


class MemoryStore:
    """A store inside one process, for tests and for a router that runs alone."""

    def __init__(self) -> None:
        self.wipe()

    def wipe(self) -> None:
        """Lose everything, as a Redis does that starts again without its data."""
        self._generation = new_generation()
        self._records: dict[str, Record] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._batches: dict[str, range] = {}
        self._restored: dict[str, tuple[str, Cursor]] = {}
        self._told: dict[str, str] = {}
        self.events: list[Event] = []

    async def position(self) -> Cursor:
        """See Store."""
        return Cursor(self._generation, self._version)

    async def merge(
        self, deltas: Sequence[Delta], batch: str = "", generation: str = "", now_s: float = 0.0
    ) -> Sequence[int]:
        """See Store."""
        self._check(generation or self._generation)
        if batch in self._batches:
            return self._batches[batch]
        for delta in deltas:
            self._put(delta.key, apply(self._records.get(delta.key, EMPTY), delta, now_s))
        versions = range(self._version - len(deltas) + 1, self._version + 1)
        if batch:
            self._batches = dict([*self._batches.items(), (batch, versions)][-BATCHES_KEPT:])
        return versions

    async def changes(self, cursor: Cursor) -> Changes:
        """See Store."""
        known = cursor.generation == self._generation and 0 < cursor.version <= self._version
        after = cursor.version if known else 0
        versions = {key: version for key, version in self._versions.items() if version > after}
        records = {key: self._records[key] for key in versions}
        return Changes(records, versions, await self.position(), complete=after == 0)

    async def restore(self, copies: Copies, generation: str) -> Restored:
        """See Store."""
        self._check(generation)
        others: dict[str, Cursor] = {}
        for key, copy in copies.records.items():
            name, place = self._restored.get(key, ("", Cursor()))
            if name and name != copies.name:
                others[key] = place
            elif not name:
                begun = self._records.get(key, EMPTY)
                added = apply(copy, Delta(key, begun.fields), begun.at_s)
                self._put(key, Record(added.fields, added.at_s, max(begun.epoch, copy.epoch)))
                self._restored[key] = copies.name, Cursor(copies.generation, copies.versions.get(key, 0))
        return Restored(frozenset(copies.records.keys() - others.keys()), others)

    async def emit(self, events: Sequence[Event], batch: str = "") -> Sequence[Event]:
        """See Store."""
        batch = batch or uuid4().hex
        told: list[Event] = []
        for i, event in enumerate(events):
            name = f"{event.kind}:{event.once}" if event.once else f"{batch}:{i}"
            if name not in self._told:
                self.events.append(event)
            if self._told.setdefault(name, batch) == batch:
                told.append(event)
        self._told = dict([*self._told.items()][-EVENTS_TOLD:])
        return told

    async def logged(self, count: int, before: str = "") -> Sequence[Logged]:
        """See Store."""
        end = min(int(before.partition("-")[0]), len(self.events)) if before else len(self.events)
        return [Logged(f"{at}-0", self.events[at]) for at in range(end - 1, max(-1, end - 1 - count), -1)]

    def _check(self, generation: str) -> None:
        if generation != self._generation:
            raise LostError(f"the store is in generation {self._generation!r}, not {generation!r}")

    def _put(self, key: str, record: Record) -> None:
        self._version += 1
        self._records[key], self._versions[key] = record, self._version


class MemoryRegistry:
    """A registry inside one process; `engines.registry.Registry` says what it does."""

    def __init__(self, clock_s: "Clock") -> None:
        self._clock_s = clock_s
        self._heartbeats: dict[str, tuple[float, Heartbeat]] = {}
        self._reloads: dict[str, float] = {}
        self._turns: dict[str, float] = {}

    async def announce(self, heartbeat: Heartbeat, ttl_s: float) -> bool:
        """See Registry."""
        self._heartbeats[heartbeat.replica] = (self._clock_s() + ttl_s, heartbeat)
        return self._reloads.pop(heartbeat.replica, 0.0) > self._clock_s()

    async def ask_reload(self, replica: str, turn: str, ttl_s: float) -> bool:
        """See Registry."""
        now_s = self._clock_s()
        if turn and self._turns.get(turn, 0.0) > now_s:
            return False
        if turn:
            self._turns[turn] = now_s + ttl_s
        self._reloads[replica] = now_s + ttl_s
        return True

    async def withdraw(self, replica: str) -> None:
        """See Registry."""
        self._heartbeats.pop(replica, None)

    async def replicas(self) -> list[Heartbeat]:
        """See Registry."""
        now_s = self._clock_s()
        return [heartbeat for until_s, heartbeat in self._heartbeats.values() if until_s > now_s]


class Clock(Protocol):
    """Seconds, passed in so that tests need not wait."""

    def __call__(self) -> float:
        """The time now in seconds."""
