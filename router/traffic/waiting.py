"""The queue before a full pool: bounded, by priority, first come first served among equals."""

import asyncio
import math
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field

from router.errors import Overloaded

MEMORY_S = 30.0
LONGEST_RETRY_S = 60


@dataclass(slots=True)
class Place:
    """A request's place, kept where its turn found no room: its number, and until when it waits on the loop's clock.

    `called`: it had a turn, so that no line is too long for it any more.
    """

    number: int
    by_s: float
    called: bool = False


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits; `turn` ends with None, or with Overloaded where a more important one took its place."""

    priority: int
    place: Place
    turn: asyncio.Future[None]

    @property
    def called(self) -> bool:
        """Whether its turn has come."""
        return self.turn.done() and not self.turn.cancelled() and self.turn.exception() is None


@dataclass(slots=True)
class Line:
    """Who waits for one pool, most important first, and how many requests left the pool of late.

    `called` counts those whose turn has come and who have not acted on it yet.
    """

    waiters: list[Waiter] = field(default_factory=list)
    called: int = 0
    left: float = 0.0
    at_s: float = 0.0

    def retry_after_s(self, now_s: float) -> int:
        """Whole seconds until as many have left as wait now, from 1 to a minute."""
        per_s = self.recent(now_s) / MEMORY_S
        return max(1, min(LONGEST_RETRY_S, math.ceil((len(self.waiters) + 1) / per_s))) if per_s > 0 else 5

    def recent(self, now_s: float) -> float:
        """Requests that left, each counting less the longer ago it was."""
        return self.left * math.exp(min(0.0, self.at_s - now_s) / MEMORY_S)


@dataclass(slots=True)
class Waiting:
    """The lines of all pools; `size` waiters each, `wait_s` at most, `priorities` by segment (0 where not named)."""

    size: int
    wait_s: float
    priorities: Mapping[str, int]
    lines: dict[str, Line] = field(default_factory=dict)
    _numbers: int = 0

    def anyone(self, pool: str) -> bool:
        """Whether somebody waits already, behind whom a newcomer belongs."""
        found = self.lines.get(pool)
        return found is not None and bool(found.waiters or found.called)

    def place(self) -> Place:
        """A place to wait with, however often: its time runs from now."""
        self._numbers += 1
        return Place(self._numbers, asyncio.get_running_loop().time() + self.wait_s)

    async def join(self, pool: str, segment: str, place: Place, now_s: float, priority: int | None = None) -> None:
        """Wait for a turn, by the segment's priority or the one given.

        Raises Overloaded where the line is full of requests at least as important, or time ran out.
        """
        priority = self.priorities.get(segment, 0) if priority is None else priority
        line, waiter = self.lines.setdefault(pool, Line()), self._waiter(priority, place)
        if len(line.waiters) >= self.size and not place.called:
            last = line.waiters[-1] if line.waiters else None
            if last is None or last.priority >= waiter.priority:
                raise self._overloaded(pool, now_s)
            line.waiters.pop()
            if not last.turn.done():
                last.turn.set_exception(self._overloaded(pool, now_s))
        insort(line.waiters, waiter, key=lambda one: (-one.priority, one.place.number))
        try:
            async with asyncio.timeout_at(place.by_s):
                await waiter.turn
        except TimeoutError:
            raise self._overloaded(pool, now_s) from None
        finally:
            if waiter in line.waiters:
                line.waiters.remove(waiter)
            elif waiter.called:
                line.called -= 1

    def note_left(self, pool: str, now_s: float) -> None:
        """A request of the pool ended."""
        line = self.lines.setdefault(pool, Line())
        line.left, line.at_s = line.recent(now_s) + 1, now_s

    def wake(self, pool: str, places: float) -> None:
        """There is room for so many: as many have their turn, the first in line; who had it a moment ago counts too."""
        line = self.lines.get(pool)
        while line is not None and line.waiters and line.called < places:
            first = line.waiters.pop(0)
            if not first.turn.done():  # done already where its client left a moment ago
                first.turn.set_result(None)
                first.place.called = True
                line.called += 1

    def _waiter(self, priority: int, place: Place) -> Waiter:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return Waiter(priority, place, turn)

    def _overloaded(self, pool: str, now_s: float) -> Overloaded:
        after = str(self.lines.setdefault(pool, Line()).retry_after_s(now_s))
        return Overloaded(f"Pool {pool!r} is full.", code="pool_full", headers={"retry-after": after})
