"""Acceptance over time: what was believed in each minute, written in the background, the first router to do so."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from policies.knowledge import Knowledge
from policies.records import Record
from router.admin.belief import beliefs
from router.state.store import Clock, StoreError

logger = logging.getLogger("alpharoute.trend")

SLOT_S = 60
KEPT_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Point:
    """One record in one minute."""

    at_s: float
    alpha: float
    low: float
    high: float
    drafts: float


class TrendStore(Protocol):
    """Points by record; every method may raise StoreError."""

    async def put(self, slot: int, points: Mapping[str, Point]) -> None:
        """Write the points of a minute; those that are there stay."""

    async def points(self, records: Sequence[str], first: int, most: int) -> Mapping[str, Sequence[Point]]:
        """Points from a minute on, oldest first, of records that have some; evenly thinned where there are more."""


class MemoryTrend:
    """A trend inside one process."""

    def __init__(self) -> None:
        self._points: dict[str, dict[int, Point]] = {}

    async def put(self, slot: int, points: Mapping[str, Point]) -> None:
        """See TrendStore."""
        for name, point in points.items():
            self._points[name] = {slot: point, **self._points.get(name, {})}

    async def points(self, records: Sequence[str], first: int, most: int) -> Mapping[str, Sequence[Point]]:
        """See TrendStore."""
        held = {name: sorted(self._points.get(name, {}).items()) for name in records}
        found = {name: [point for slot, point in points if slot >= first] for name, points in held.items()}
        return {name: thinned(points, most) for name, points in found.items() if points}


Item = TypeVar("Item")


def thinned(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many of them, evenly spread, the last among them."""
    if len(items) <= most:
        return items
    return [items[len(items) - 1 - at * (len(items) - 1) // (most - 1)] for at in range(most - 1, -1, -1)]


@dataclass(slots=True)
class Trend:
    """Writes the records that changed since the last minute; reads what was written."""

    store: TrendStore
    knowledge: Knowledge
    clock_s: Clock
    _seen: dict[str, Record] = field(default_factory=dict)

    async def run(self) -> None:
        """Write once a minute until cancelled; a store that is away, or any fault, costs the minute."""
        task = asyncio.current_task()
        # Asked each round: redis-py may swallow a cancellation that meets one of its own timeouts.
        while task is not None and not task.cancelling():
            await asyncio.sleep(SLOT_S - self.clock_s() % SLOT_S)
            try:
                await self.write()
            except StoreError as error:
                logger.debug("a minute of acceptance is not written: %s", error)
            except Exception:
                logger.exception("a minute of acceptance is not written")

    async def write(self) -> None:
        """Write what changed since the last time."""
        now_s = self.clock_s()
        records = {name: record for name, record in self.knowledge.records.items() if name.startswith("acc:")}
        changed = {name: record for name, record in records.items() if self._seen.get(name) != record}
        points = {
            name: Point(now_s, one.alpha, *one.alpha_interval, one.drafts) for name, one in beliefs(changed).items()
        }
        if points:
            await self.store.put(int(now_s) // SLOT_S, points)
        self._seen = records

    async def since(self, records: Sequence[str], since_s: float, most: int) -> Mapping[str, Sequence[Point]]:
        """Points by record, oldest first, from then on, at most so many of each."""
        earliest = (int(self.clock_s()) - KEPT_S) // SLOT_S + 1
        return await self.store.points(records, max(int(since_s) // SLOT_S, earliest), most)
