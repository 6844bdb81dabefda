"""Rates from the routers' totals: two overviews and what happened between them; kept while somebody looks."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Totals = Mapping[str, Any]
"""An `Overview` of the Admin API: totals since each router started."""

KEPT_S = 1800.0
APART_S = 1.5
"""Answers closer than this are one point: several browsers ask."""

WINDOW_S = 60.0
"""What "now" means."""

SMOOTHED_S = 20.0
"""What a point of a chart is a mean over: other routers' totals come every 5 s, so shorter ones would jump."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened in `window_s` (None: since the routers started); figures that nothing is known of are None."""

    window_s: float | None
    requests: int
    failed: int
    requests_per_s: float | None
    ms_per_token: float | None
    vanilla_ms_per_token: float | None
    saved_s: float
    speculative_share: float | None
    k: Mapping[str, int]


@dataclass(slots=True)
class Trail:
    """Overviews by time, oldest first; the same for everybody who looks."""

    points: deque[Totals] = field(default_factory=deque)

    def add(self, totals: Totals) -> None:
        """Keep one."""
        at_s = float(totals["at_s"])
        if self.points and at_s - self.points[-1]["at_s"] < APART_S:
            return
        if self.points and totals["requests"] < self.points[-1]["requests"] * 0.9:
            self.points.clear()  # a router restarted: differences to what was before tell nothing
        self.points.append(totals)
        while at_s - self.points[0]["at_s"] > KEPT_S:
            self.points.popleft()

    def now(self) -> Rates:
        """The last minute, or since the routers started where nobody looked a while ago."""
        last = self.points[-1]
        before = next((one for one in self.points if last["at_s"] - one["at_s"] <= WINDOW_S + APART_S), last)
        if last["at_s"] - before["at_s"] < SMOOTHED_S or last["requests"] == before["requests"]:
            return rates(last, None)
        return rates(last, before)

    def course(self) -> list[tuple[float, Rates | None]]:
        """(Unix ms, rates) at every point that has one well before it; None where nobody looked meanwhile."""
        found: list[tuple[float, Rates | None]] = []
        start = 0
        points = list(self.points)
        for at, point in enumerate(points):
            while points[start + 1 : at] and point["at_s"] - points[start + 1]["at_s"] >= SMOOTHED_S:
                start += 1
            apart_s = point["at_s"] - points[start]["at_s"]
            if apart_s < SMOOTHED_S:
                continue
            looked = apart_s < 3 * SMOOTHED_S
            found.append((point["at_s"] * 1000, rates(point, points[start]) if looked else None))
        return found


def rates(now: Totals, before: Totals | None) -> Rates:
    """What happened between two overviews."""
    tasks = {one["task"]: one for one in before["tasks"]} if before is not None else {}
    grown = [_grown(one, tasks.get(one["task"])) for one in now["tasks"]]
    tokens, generation_s, saved_s, decisions, speculative = (sum(one[at] for one in grown) for at in range(5))
    window_s = now["at_s"] - before["at_s"] if before is not None else None
    requests = now["requests"] - (before["requests"] if before is not None else 0)
    return Rates(
        window_s=window_s,
        requests=max(0, requests),
        failed=max(0, now["failed"] - (before["failed"] if before is not None else 0)),
        requests_per_s=max(0, requests) / window_s if window_s else None,
        ms_per_token=generation_s / tokens * 1000 if tokens > 0 else None,
        vanilla_ms_per_token=(generation_s + saved_s) / tokens * 1000 if tokens > 0 else None,
        saved_s=saved_s,
        speculative_share=speculative / decisions if decisions > 0 else None,
        k={k: count for k, count in _ks(now, before).items() if count > 0},
    )


def _grown(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> tuple[float, float, float, float, float]:
    names = ("output_tokens", "generation_s", "saved_s", "decisions", "speculative")
    tokens, generation_s, saved_s, decisions, speculative = (now[n] - (before[n] if before else 0) for n in names)
    return tokens, generation_s, saved_s, decisions, speculative


def _ks(now: Totals, before: Totals | None) -> dict[str, int]:
    earlier = before["k"] if before is not None else {}
    return {k: count - earlier.get(k, 0) for k, count in now["k"].items()}
