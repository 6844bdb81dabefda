"""Acceptance by drafter, task, segment, temperature and position: now, and over time."""

from dataclasses import dataclass

from pydantic import Field

from policies.keys import decode_key
from policies.knowledge import Knowledge
from router.admin.belief import Acceptance, beliefs
from router.admin.routes import AnyRoute, Asked, Nothing, Said, Taken, reading
from router.admin.trend import Point, Trend


class Which(Taken):
    """Which records; what is unset asks for all."""

    drafter: str | None = None
    """The drafter."""
    task: str | None = None
    """The task."""
    segment: str | None = None
    """The segment."""
    temperature: str | None = None
    """The bucket: 0, low or high."""

    def fits(self, drafter: str, task: str, segment: str, temperature: str) -> bool:
        """Whether a record is one of these."""
        wanted = ((self.drafter, drafter), (self.task, task), (self.segment, segment), (self.temperature, temperature))
        return all(want is None or want == found for want, found in wanted)


class WhichSince(Which):
    """Which records, from when on."""

    since_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Unix time; the last twelve hours are kept."""
    points: int = Field(default=120, ge=2, le=720)
    """At most so many of each record, evenly spread."""


@dataclass(frozen=True, slots=True)
class AcceptanceTable:
    """Every record, as this router knows them."""

    router: str
    acceptance: list[Acceptance]


@dataclass(frozen=True, slots=True)
class Series:
    """One record over time, a point for each minute in which it changed."""

    drafter: str
    task: str
    segment: str
    temperature: str
    shape: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class AcceptanceHistory:
    """Every record over time."""

    series: list[Series]


@dataclass(frozen=True, slots=True)
class AcceptanceRoutes:
    """What is believed of drafters."""

    router: str
    knowledge: Knowledge
    trend: Trend

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [
            reading("/acceptance", AcceptanceTable, self.table, Which),
            reading("/acceptance/history", AcceptanceHistory, self.history, WhichSince),
        ]

    async def table(self, asked: Asked[Which, Nothing]) -> Said:
        """Acceptance by drafter, task, segment, temperature and position, with intervals of 90 %."""
        found = beliefs(self.knowledge.records).values()
        rows = [row for row in found if asked.query.fits(row.drafter, row.task, row.segment, row.temperature)]
        rows.sort(key=lambda row: (row.drafter, row.task, row.temperature, row.segment, row.shape))
        return Said(AcceptanceTable(self.router, rows))

    async def history(self, asked: Asked[WhichSince, Nothing]) -> Said:
        """Acceptance over time: a point for each minute in which a record changed."""
        which = asked.query
        keys = {name: decode_key(name) for name in self.knowledge.records if name.startswith("acc:")}
        wanted = [name for name, k in sorted(keys.items()) if which.fits(k.drafter, k.task, k.segment, k.bucket)]
        series = []
        for name, points in (await self.trend.since(wanted, which.since_s, which.points)).items():
            key = keys[name]
            series.append(Series(key.drafter, key.task, key.segment, key.bucket, key.shape, list(points)))
        return Said(AcceptanceHistory(series))
