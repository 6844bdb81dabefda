"""Acceptance over time: what was believed in each minute, written in the background, the first router to do so."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from policies.knowledge import Knowledge
from policies.records import Record
from router.admin.belief import beliefs
from router.state.store import Clock, StoreError

logger = logging.getLogger("alpharoute.trend")

SLOT_S = 60
KEPT_S = 12 * 3600
"""How far back it goes: about 45 kB in Redis for a record that changes all that time."""


@dataclass(frozen=True, slots=True)
class Point:
    """One record in one minute."""

    at_s: float
    alpha: float
    low: float
    high: float
    drafts: float


class TrendStore(Protocol):
    """Points by slot and record; every method may raise StoreError."""

    async def put(self, slot: int, points: Mapping[str, Point]) -> None:
        """Write what the slot does not have yet."""

    async def slots(self, wanted: Sequence[int]) -> Sequence[Mapping[str, Point]]:
        """What each slot has, by record."""


class MemoryTrend:
    """A trend inside one process."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[str, Point]] = {}

    async def put(self, slot: int, points: Mapping[str, Point]) -> None:
        """See TrendStore."""
        self._slots[slot] = {**points, **self._slots.get(slot, {})}
        self._slots = {at: kept for at, kept in self._slots.items() if at > slot - KEPT_S // SLOT_S}

    async def slots(self, wanted: Sequence[int]) -> Sequence[Mapping[str, Point]]:
        """See TrendStore."""
        return [self._slots.get(slot, {}) for slot in wanted]


@dataclass(slots=True)
class Trend:
    """Writes the records that changed since the last minute; reads what was written."""

    store: TrendStore
    knowledge: Knowledge
    clock_s: Clock
    _seen: dict[str, Record] = field(default_factory=dict)

    async def run(self) -> None:
        """Write once a minute until cancelled; a store that is away costs the minute."""
        while True:
            await asyncio.sleep(SLOT_S - self.clock_s() % SLOT_S)
            try:
                await self.write()
            except StoreError as error:
                logger.debug("a minute of acceptance is not written: %s", error)

    async def write(self) -> None:
        """Write what changed since the last time."""
        now_s = self.clock_s()
        records = {name: record for name, record in self.knowledge.records.items() if name.startswith("acc:")}
        changed = {name: record for name, record in records.items() if self._seen.get(name) is not record}
        points = {
            name: Point(now_s, one.alpha, *one.alpha_interval, one.drafts) for name, one in beliefs(changed).items()
        }
        if points:
            await self.store.put(int(now_s) // SLOT_S, points)
        self._seen = records

    async def since(self, since_s: float) -> dict[str, list[Point]]:
        """Points by record, oldest first, from then on."""
        last = int(self.clock_s()) // SLOT_S
        first = max(int(since_s) // SLOT_S, last - KEPT_S // SLOT_S + 1)
        found: dict[str, list[Point]] = {}
        for points in await self.store.slots(range(first, last + 1)):
            for name, point in points.items():
                found.setdefault(name, []).append(point)
        return found
