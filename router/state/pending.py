"""What a router has learnt and the store does not have yet, or has had for so short a time that others may not know."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.records import Delta, merge
from policies.words import Event
from router.state.store import Cursor

EVENTS_HELD = 1_000


class Pending:
    """What was learnt and not yet written; deltas of one record are merged, so it grows with records, not requests."""

    def __init__(self) -> None:
        self.deltas: dict[str, list[Delta]] = {}
        self.events: list[Event] = []

    def add(self, deltas: Iterable[Delta]) -> None:
        """Put deltas behind those that wait."""
        for delta in deltas:
            waiting = self.deltas.setdefault(delta.key, [])
            merged = merge(waiting[-1], delta) if waiting else None
            if merged is None:
                waiting.append(delta)
            else:
                waiting[-1] = merged

    def note(self, events: Sequence[Event]) -> None:
        """Put events behind those that wait; the oldest go where there are too many."""
        if events:
            self.events = [*self.events, *events][-EVENTS_HELD:]

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


@dataclass(frozen=True, slots=True)
class _Writing:
    at_s: float
    version: int
    delta: Delta


class Written:
    """What this router wrote lately: another's copy, given back after a loss, may be from just before that."""

    def __init__(self) -> None:
        self._writings: list[_Writing] = []

    def add(self, deltas: Sequence[Delta], versions: Sequence[int], now_s: float) -> None:
        """Deltas that the store has, and the version that each made."""
        self._writings += (_Writing(now_s, version, delta) for version, delta in zip(versions, deltas, strict=True))

    def since(self, key: str, generation: str, copy: Cursor) -> list[Delta]:
        """What was written to a record, in `generation`, after a copy of it was read: all, where that one is older."""
        version = copy.version if copy.generation == generation else 0
        newer = [w.delta for w in self._writings if w.delta.key == key and w.version > version]
        return newer if copy.generation <= generation else []

    def forget(self, before_s: float) -> None:
        """Drop what every router has read by now."""
        self._writings = [writing for writing in self._writings if writing.at_s >= before_s]

    def clear(self) -> None:
        """Drop everything: the versions are of a generation that ended."""
        self._writings = []
