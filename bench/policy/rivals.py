"""Ours beside what a constant, a schedule or a threshold would do on the same requests."""

from collections.abc import Sequence

from bench.policy.protocol import STATIC, TUNED
from bench.policy.sheet import LOADS, Cell, Figures, Sheet, judged, short

RIVALS = {
    "adaptive": "ours, one vanilla replica and three that speculate",
    "adaptive_no_vanilla": "ours, four that speculate",
    "static_k1": "k = 1 for all",
    "static_k2": "k = 2 for all",
    "static_k3": "k = 3 for all",
    "static_k4": "k = 4 for all",
    "vllm_schedule": "vLLM's schedule, the best table",
    "threshold_k2": "threshold, tuned on the H100s: four that speculate",
    "threshold_k4": "threshold, tuned on cpu-demo: one vanilla replica and three that speculate",
    "article_threshold": "the article's threshold, one vanilla replica and three that speculate",
}


def ahead(ours: str, theirs: str, least: float, loads: Sequence[str] = LOADS) -> Cell:
    """How much faster ours is by load, where both ran."""

    def cell(sheet: Sheet) -> str:
        if not sheet.has(loads[0], ours) or not sheet.has(loads[0], theirs):
            return "–"
        values = [sheet.ahead(load, ours, theirs) for load in loads]
        return ", ".join(judged(value, round(value, 1) < least, sign=True) for value in values)

    return cell


def static(sheet: Sheet) -> str:
    """Ours against static k = 4, and on the same replicas."""
    pairs = []
    for load in ("load80", "load110"):
        value = sheet.ahead(load, "adaptive", "static_k4")
        more = f" ({short(sheet.ahead(load, 'adaptive_no_vanilla', 'static_k4'), True)})"
        pairs.append(judged(value, value < 15, sign=True) + more)
    return ", ".join(pairs)


def best_static(sheet: Sheet, load: str) -> str:
    """The static k that turned out fastest at this load."""
    return max(STATIC, key=lambda name: sheet.value(load, "speedup", name))


def over_best(ours: str) -> Cell:
    """How much faster ours is than the static k that is best in hindsight, by load, with that k."""

    def cell(sheet: Sheet) -> str:
        cells = []
        for load in LOADS:
            best = best_static(sheet, load)
            value = sheet.ahead(load, ours, best)
            cells.append(f"{judged(value, round(value, 1) < 0, sign=True)} (k={best[-1]})")
        return ", ".join(cells)

    return cell


def over_threshold(sheet: Sheet) -> str:
    """Ours against the tuned threshold, where that runs: with a vanilla replica on cpu-demo, without on the H100s."""
    theirs = TUNED[sheet.calibration]
    return ahead("adaptive" if theirs == "threshold_k4" else "adaptive_no_vanilla", theirs, 0)(sheet)


def rival(policy: str) -> Cell:
    """Regret and p99 by load, the least regret of a load bold."""

    def cell(sheet: Sheet) -> str:
        if not sheet.has(LOADS[0], policy):
            return "–"
        found = []
        for load in LOADS:
            value, p99 = sheet.percent(load, "regret", policy), sheet.percent(load, "p99_ratio", policy)
            least = min(sheet.percent(load, "regret", name) for name in RIVALS if sheet.has(load, name))
            found.append(f"{judged(value, value <= least)} [{short(p99)}]")
        return ", ".join(found)

    return cell


def long_table(figures: Figures) -> str:
    """Regret with its interval, and p99, of whoever ran in the long runs."""
    names = list(figures)
    sheet = Sheet(names[0].partition("/")[0], figures)
    loads = [name.partition("/")[2] for name in names]
    lines = [
        f"| regret [95 %]; p99 (%) | {' | '.join(f'{load[4:]} %' for load in loads)} |",
        "|---" * (len(loads) + 1) + "|",
    ]
    for policy, said in RIVALS.items():
        if not sheet.has(loads[0], policy):
            continue
        cells = []
        for load in loads:
            value, low, high = (sheet.percent(load, "regret", policy, part) for part in ("value", "low", "high"))
            cells.append(
                f"{short(value)} [{short(low)}, {short(high)}]; {short(sheet.percent(load, 'p99_ratio', policy))}"
            )
        lines.append(f"| {said} | {' | '.join(cells)} |")
    return "\n".join(lines)
