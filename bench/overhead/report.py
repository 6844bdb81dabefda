"""From rounds of figures to medians with their range, and the table that people read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.table import Table

from bench.overhead.measure import Figures

DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Value:
    """A median over rounds, and the least and largest of them."""

    median: float
    least: float
    most: float


def value(rounds: Sequence[float | None]) -> Value | None:
    """None where a figure was not measured."""
    known = [figure for figure in rounds if figure is not None]
    return Value(round(median(known), 3), round(min(known), 3), round(max(known), 3)) if known else None


def summary(rounds: Mapping[str, Sequence[Figures]]) -> dict[str, dict[str, object]]:
    """Per target its figures; added times are against the direct call of the same round."""
    direct = rounds[DIRECT]
    found: dict[str, dict[str, object]] = {}
    for name, own in rounds.items():
        values = {
            "p50_ms": value([f.p50_ms for f in own]),
            "p99_ms": value([f.p99_ms for f in own]),
            "added_p50_ms": value([f.p50_ms - d.p50_ms for f, d in zip(own, direct, strict=True)]),
            "added_p99_ms": value([f.p99_ms - d.p99_ms for f, d in zip(own, direct, strict=True)]),
            "requests_per_s": value([f.requests_per_s for f in own]),
            "chunks_per_s": value([f.chunks_per_s for f in own]),
            "cpu_us_per_chunk": value([f.cpu_us_per_chunk for f in own]),
            "cpu_us_per_request": value([f.cpu_us_per_request for f in own]),
            "requests_per_s_with_cores": value([f.requests_per_s_with_cores for f in own]),
        }
        found[name] = {figure: asdict(one) if one else None for figure, one in values.items()}
        found[name]["account_us"] = _account(own)
    return found


def _account(rounds: Sequence[Figures]) -> dict[str, float]:
    """The median of each kind of process, and of what all of them took."""
    kinds = {kind: [one.account_us[kind] for one in rounds] for kind in rounds[0].account_us}
    every = {**kinds, "all": [sum(one.account_us.values()) for one in rounds]}
    return {kind: round(median(figures), 1) for kind, figures in every.items()}


def table(found: Mapping[str, Mapping[str, object]]) -> Table:
    """One row per target: median (least – most)."""
    figures = (
        "added_p50_ms",
        "added_p99_ms",
        "requests_per_s",
        "chunks_per_s",
        "cpu_us_per_chunk",
        "cpu_us_per_request",
        "requests_per_s_with_cores",
    )
    shown = Table("target", *figures)
    for name, values in found.items():
        shown.add_row(name, *(_cell(values[figure]) for figure in figures))
    return shown


def account(found: Mapping[str, Mapping[str, Any]], cores: int) -> Table:
    """Where a request's CPU time goes on this machine, and how many requests its cores could answer at most."""
    kinds = list(dict.fromkeys(kind for values in found.values() for kind in values["account_us"]))
    kinds = [*(kind for kind in kinds if kind != "all"), "all"]
    shown = Table("CPU µs per request", *kinds, f"at most, on {cores} cores")
    for name, values in found.items():
        spent = values["account_us"]
        most = f"{cores / spent['all'] * 1e6:.0f} requests/s"
        shown.add_row(name, *(f"{spent[kind]:.0f}" if kind in spent else "–" for kind in kinds), most)
    return shown


def _cell(one: object) -> str:
    if not isinstance(one, dict):
        return "–"
    digits = 0 if one["median"] >= 100 else 2
    return f"{one['median']:.{digits}f} ({one['least']:.{digits}f} – {one['most']:.{digits}f})"
