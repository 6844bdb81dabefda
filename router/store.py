"""What the routers share, as a seam: records of decayed sums and events; and its in-memory implementation."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engines.registry import Heartbeat
from policies.records import EMPTY, Delta, Record, apply
from policies.words import Event


class StoreError(Exception):
    """The store could not be reached or refused; what was to be written may be written again later."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Records that changed after a cursor, and the cursor from which to ask next."""

    records: Mapping[str, Record] = field(default_factory=dict)
    cursor: int = 0


class Store(Protocol):
    """Shared records; every method may raise StoreError."""

    async def merge(self, deltas: Sequence[Delta], batch: str = "") -> None:
        """Apply each delta to its record, as `policies.records.apply` does; all of them or none.

        A named batch counts once, so that one whose answer was lost may be sent again.
        """

    async def changes(self, cursor: int) -> Changes:
        """Records changed since `cursor`; 0 asks for all of them."""

    async def restore(self, records: Mapping[str, Record]) -> frozenset[str]:
        """Write back records that the store has lost; the names of those that were absent and are there now."""

    async def emit(self, events: Sequence[Event]) -> None:
        """Append events to a log that keeps the newest."""


BATCHES_KEPT = 256


class MemoryStore:
    """A store inside one process, for tests and for a router that runs alone."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._batches: deque[str] = deque(maxlen=BATCHES_KEPT)
        self.events: list[Event] = []

    async def merge(self, deltas: Sequence[Delta], batch: str = "", now_s: float = 0.0) -> None:
        """See Store."""
        if batch in self._batches:
            return
        if batch:
            self._batches.append(batch)
        for delta in deltas:
            self._version += 1
            self._records[delta.key] = apply(self._records.get(delta.key, EMPTY), delta, now_s)
            self._versions[delta.key] = self._version

    async def changes(self, cursor: int) -> Changes:
        """See Store."""
        newer = {key: self._records[key] for key, version in self._versions.items() if version > cursor}
        return Changes(newer, self._version)

    async def restore(self, records: Mapping[str, Record]) -> frozenset[str]:
        """See Store."""
        lost = records.keys() - self._records.keys()
        for key in lost:
            self._version += 1
            self._records[key], self._versions[key] = records[key], self._version
        return frozenset(lost)

    async def emit(self, events: Sequence[Event]) -> None:
        """See Store."""
        self.events.extend(events)


class MemoryRegistry:
    """A registry inside one process; `engines.registry.Registry` says what it does."""

    def __init__(self, clock_s: "Clock") -> None:
        self._clock_s = clock_s
        self._heartbeats: dict[str, tuple[float, Heartbeat]] = {}

    async def announce(self, heartbeat: Heartbeat, ttl_s: float) -> None:
        """See Registry."""
        self._heartbeats[heartbeat.replica] = (self._clock_s() + ttl_s, heartbeat)

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
