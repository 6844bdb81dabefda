"""What a router has learnt and the store does not have yet, or has had for so short a time that others may not know."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.event import Event
from policies.records import Delta, merge
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
class Writing:
    """A batch that the store said it has, when (Unix seconds), and the version that each delta made."""

    name: str
    at_s: float
    deltas: Sequence[Delta]
    versions: Sequence[int]


class Written:
    """What this router wrote lately: a copy that is given back after a loss, or a server that took over from another,
    may be from just before that."""

    def __init__(self) -> None:
        self._writings: list[Writing] = []

    def add(self, writing: Writing) -> None:
        """Remember a batch; one that was written again takes the place of its first time."""
        self._writings = [*(one for one in self._writings if one.name != writing.name), writing]

    def all(self) -> list[Writing]:
        """Every batch remembered, in the order written."""
        return self._writings

    def since(self, key: str, generation: str, copy: Cursor) -> list[Delta]:
        """What was written to a record, in `generation`, after a copy of it was read: all, where that one is older."""
        if copy.generation > generation:
            return []
        after = copy.version if copy.generation == generation else 0
        made = (pair for writing in self._writings for pair in zip(writing.deltas, writing.versions, strict=True))
        return [delta for delta, version in made if delta.key == key and version > after]

    def forget(self, before_s: float) -> None:
        """Drop what every router, and every replica of the store, has read by now."""
        self._writings = [writing for writing in self._writings if writing.at_s >= before_s]

    def clear(self) -> None:
        """Drop everything: the versions are of a generation that ended."""
        self._writings = []
