"""Totals over all routers since each started, from their metrics pages: the difference of two readings is a rate."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from router.admin.routes import AnyRoute, Asked, Nothing, Said, reading
from router.observe.pages import Pages
from router.state.store import Clock

_SAMPLE = re.compile(r"^alpharoute_\w+(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

FAILED = "5"
"""First digit of the statuses that count as failures."""


@dataclass(slots=True)
class TaskTotals:
    """One task: `speculative` of the `decisions` had k > 0; `generation_s` is what engines took, `saved_s` how much
    less that is than predicted of the best vanilla engine (negative where it would have been faster).

    `output_tokens` and both times are those of the same answers: the ones for which a vanilla engine was known.
    """

    task: str
    decisions: int = 0
    speculative: int = 0
    output_tokens: int = 0
    generation_s: float = 0.0
    saved_s: float = 0.0
    proposed: int = 0
    accepted: int = 0


@dataclass(slots=True)
class PoolTotals:
    """One pool: requests in its engines and before them now, and answers that broke off."""

    pool: str
    decisions: int = 0
    in_flight: int = 0
    queued: int = 0
    failures: int = 0


@dataclass(slots=True)
class Overview:
    """Everything at once; `requests` are those for models, `k` counts decisions by k.

    `redis_up`: whether every router's last exchange with Redis succeeded; `knowledge_age_s` is the oldest copy's.
    """

    at_s: float
    routers: int
    requests: int = 0
    failed: int = 0
    refused: int = 0
    redis_up: bool = True
    knowledge_age_s: float = 0.0
    k: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    tasks: list[TaskTotals] = field(default_factory=list)
    pools: list[PoolTotals] = field(default_factory=list)


FRESH_S = 1.0
"""How long one reading serves everybody: going through the pages of many routers takes tens of milliseconds."""


@dataclass(slots=True)
class OverviewRoutes:
    """The figures of all routers."""

    pages: Pages
    clock_s: Clock
    _last: Overview | None = None

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [reading("/overview", Overview, self.totals, Nothing)]

    async def totals(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Totals of all routers since they started; others' are at most 15 s old."""
        now_s = self.clock_s()
        if self._last is None or not 0 <= now_s - self._last.at_s < FRESH_S:
            self._last = await asyncio.to_thread(lambda: totals(self.pages.by_router(), now_s))
        return Said(self._last)


def totals(pages: Mapping[str, str], now_s: float) -> Overview:
    """The overview of every router's metrics page."""
    tasks: dict[str, TaskTotals] = {}
    pools: dict[str, PoolTotals] = {}
    k: dict[str, int] = defaultdict(int)
    reasons: dict[str, int] = defaultdict(int)
    found = Overview(now_s, len(pages))
    for name, labels, value in (sample for page in pages.values() for sample in _samples(page)):
        if name in _OF_TASKS and "task" in labels:
            _OF_TASKS[name](tasks.setdefault(labels["task"], TaskTotals(labels["task"])), labels, value)
        if name in _OF_POOLS and "pool" in labels:
            pool = pools.setdefault(labels["pool"], PoolTotals(labels["pool"]))
            setattr(pool, _OF_POOLS[name], getattr(pool, _OF_POOLS[name]) + int(value))
        if name == "decisions_total":
            k[labels["k"]] += int(value)
            reasons[labels["reason"]] += int(value)
        elif name == "requests_total" and labels["route"].startswith("/v1/") and labels["model"]:
            found.requests += int(value)
            found.failed += int(value) * labels["status"].startswith(FAILED)
        elif name == "refused_requests_total":
            found.refused += int(value)
        elif name == "redis_up":
            found.redis_up = found.redis_up and value > 0
        elif name == "knowledge_age_seconds":
            found.knowledge_age_s = max(found.knowledge_age_s, value)
    found.k, found.reasons = dict(sorted(k.items())), dict(sorted(reasons.items()))
    found.tasks = [tasks[name] for name in sorted(tasks)]
    found.pools = [pools[name] for name in sorted(pools)]
    return found


def _samples(page: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for name in _READ:
        # A page has ten times as many lines as are wanted: whole families are passed over.
        family = page.partition(f"# TYPE alpharoute_{name} ")[2].partition("# HELP ")[0]
        for labels, value in _SAMPLE.findall(family):
            yield name, dict(_LABEL.findall(labels)), float(value)


def _decided(task: TaskTotals, labels: Mapping[str, str], value: float) -> None:
    task.decisions += int(value)
    task.speculative += int(value) * (labels["k"] != "0")


def _proposed(task: TaskTotals, labels: Mapping[str, str], value: float) -> None:
    task.proposed += int(value)


def _accepted(task: TaskTotals, labels: Mapping[str, str], value: float) -> None:
    task.accepted += int(value)


def _compared_tokens(task: TaskTotals, labels: Mapping[str, str], value: float) -> None:
    task.output_tokens += int(value)


def _generated(task: TaskTotals, labels: Mapping[str, str], value: float) -> None:
    task.generation_s += value
    task.saved_s -= value


def _vanilla(task: TaskTotals, labels: Mapping[str, str], value: float) -> None:
    task.saved_s += value


_OF_TASKS = {
    "decisions_total": _decided,
    "proposed_drafts_total": _proposed,
    "accepted_drafts_total": _accepted,
    "compared_output_tokens_total": _compared_tokens,
    "compared_generation_seconds_total": _generated,
    "compared_vanilla_seconds_total": _vanilla,
}
_OF_POOLS = {
    "decisions_total": "decisions",
    "in_flight_requests": "in_flight",
    "queued_requests": "queued",
    "engine_failures_total": "failures",
}
_READ = frozenset(
    {*_OF_TASKS, *_OF_POOLS, "requests_total", "refused_requests_total", "redis_up", "knowledge_age_seconds"}
)
