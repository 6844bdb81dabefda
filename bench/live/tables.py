"""`python -m bench.live.tables`: the committed results as the tables of README.md and docs/benchmarks.md."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.document import markdown_table, write_table
from bench.live.arms import FIXED, OURS, VANILLA, WARM

RESULTS = Path("bench/results/live")
README, BENCHMARKS = Path("README.md"), Path("docs/benchmarks.md")
ALL, SHORT, AGAIN, LONGER, LOADS, COLLAPSE = (
    "bench.live",
    "bench.live in short",
    "bench.live again",
    "bench.live longer",
    "bench.live --loads",
    "bench.live --workload collapse",
)
NAMES = {
    VANILLA: VANILLA,
    "always k=1": "always k = 1",
    "always k=2": "always k = 2",
    "always k=3": "always k = 3",
    FIXED: "always k = 4",
    "always k=6": "always k = 6",
    "always k=8": "always k = 8",
    "batch schedule": "k by batch, set as a request arrives",
    "article threshold": "on above an acceptance of .6, k = 4",
    "article threshold k=6": "on above an acceptance of .6, k = 6",
    "article threshold k=8": "on above an acceptance of .6, k = 8",
    OURS: "**Alpharoute**, from a cold start",
    WARM: "Alpharoute, warm",
    f"{OURS} with given tasks": "Alpharoute, told the tasks",
    "observe only": "Alpharoute, only observing",
}
COLD_OVER, WARM_OVER = "cold / this [95 %]", "warm / this"
STATIC_K = ("always k=1", "always k=2", "always k=3", FIXED, "always k=6", "always k=8")

Arms = Mapping[str, Mapping[str, Any]]


def tables(results: Path) -> Iterator[tuple[Path, str, str]]:
    """Each table with its document and its place in it."""
    one = _arms(results / "cpu-demo-arms.json", "mix")["1 client"]
    yield BENCHMARKS, ALL, _all(one)
    yield README, SHORT, _short(one)
    yield BENCHMARKS, AGAIN, _all(_arms(results / "cpu-demo-arms-again.json", "mix")["1 client"])
    yield BENCHMARKS, LONGER, _few(_arms(results / "cpu-demo-arms-longer.json", "mix")["1 client"])
    yield BENCHMARKS, LOADS, _loads(_arms(results / "cpu-demo-loads.json", "mix"))
    yield BENCHMARKS, COLLAPSE, _collapse(_arms(results / "cpu-demo-collapse.json", "collapse")["1 client"])


def _arms(file: Path, workload: str) -> Mapping[str, Arms]:
    found: Mapping[str, Arms] = json.loads(file.read_text())["results"][workload]
    return found


def _all(arms: Arms) -> str:
    heads = ("arm", "ms per token", "p99", "worst task / vanilla", "over the best fixed choice", COLD_OVER, WARM_OVER)
    return markdown_table(heads, [_row(NAMES[name], arms[name], regret=True) for name in NAMES if name in arms])


def _short(arms: Arms) -> str:
    """Of the fixed k only 4 and the best: what a team sets by habit, and what it would set if it knew."""
    best = min((name for name in STATIC_K if name in arms), key=lambda name: float(arms[name]["mean_ms_per_token"]))
    heads = ("", "ms per token", "p99", "worst task / vanilla", COLD_OVER, WARM_OVER)
    left_out = {*STATIC_K, *list(NAMES)[-2:]} - {FIXED, best}
    rows = []
    for name in NAMES:
        if name in arms and name not in left_out:
            called = f"best k for all, {best[-1]}" if name == best != FIXED else NAMES[name]
            rows.append(_row(called, arms[name], regret=False))
    return markdown_table(heads, rows)


def _few(arms: Arms) -> str:
    """Without the fixed choices' best, for which every k would have to be an arm."""
    heads = ("arm", "ms per token", "p99", "worst task / vanilla", COLD_OVER, WARM_OVER)
    return markdown_table(heads, [_row(NAMES[name], arms[name], regret=False) for name in NAMES if name in arms])


def _row(name: str, told: Mapping[str, Any], *, regret: bool) -> tuple[str, ...]:
    over = (_percents(told["regret"], told["regret_in_hindsight"]),) if regret else ()
    times = (f"{told['mean_ms_per_token']:.2f}", f"{told['p99_ms_per_token']:.2f}", f"{told['worst_task_ratio']:.2f}")
    return (name, *times, *over, _ratio(told, "ours_over"), _ratio(told, "warm_over"))


def _loads(loads: Mapping[str, Arms]) -> str:
    heads = ("load", "arm", "ms per token", "p99", "tokens/s", "worst task / vanilla", "ours / arm [95 %]")
    rows = [
        (
            load,
            NAMES[name],
            *(f"{arms[name][what]:.1f}" for what in ("mean_ms_per_token", "p99_ms_per_token", "tokens_per_s")),
            f"{arms[name]['worst_task_ratio']:.2f}",
            _ratio(arms[name]),
        )
        for load, arms in loads.items()
        for name in NAMES
        if name in arms
    ]
    return markdown_table(heads, rows)


def _collapse(arms: Arms) -> str:
    heads = ("arm", "ms per token", "answers until the collapse was followed", "until the recovery was", "ours / arm")
    rows = []
    for name in NAMES:
        if name in arms:
            adapted = arms[name]["requests_to_adapt"]
            steps = [_steps(adapted, phase) for phase in ("collapse", "recovery")]
            rows.append((NAMES[name], f"{arms[name]['mean_ms_per_token']:.2f}", *steps, _ratio(arms[name])))
    return markdown_table(heads, rows)


def _steps(adapted: Mapping[str, Any] | None, phase: str) -> str:
    if not adapted or phase not in adapted:
        return ""
    return f"{adapted[phase]['median']:g}, at most {adapted[phase]['largest']} (of {adapted[phase]['tasks']} tasks)"


def _ratio(told: Mapping[str, Any], of: str = "ours_over") -> str:
    ratio = told.get(of)
    return f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio else ""


def _percents(*shares: float | None) -> str:
    return " to ".join(f"{100 * share:+.1f}" for share in shares if share is not None) + " %"


if __name__ == "__main__":
    for document, place, table in tables(RESULTS):
        write_table(document, place, table)
        print(table, end="\n\n")
