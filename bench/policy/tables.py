"""The tables of `bench/results/policy/README.md`, from the figures beside it; what misses its target is bold."""

import math
from collections.abc import Mapping, Sequence

from bench.policy.protocol import STATIC
from bench.policy.rivals import RIVALS, ahead, long_table, over_best, over_threshold, rival, static
from bench.policy.sheet import LOADS, Cell, Figures, Sheet, judged, short

MARKS = {
    "targets": "| target | {} |",
    "simulated": "| ours over | {} |",
    "rivals": "| load 20, 50, 80, 110 %: regret [p99] (%) | {} |",
    "more": "| load 50 %: regret, worst task, p99 (%) | {} |",
}


def regrets(sheet: Sheet) -> str:
    """Regret by load, the interval of each miss."""
    cells = []
    for load in LOADS:
        value = sheet.percent(load, "regret")
        low, high = (sheet.percent(load, "regret", part=part) for part in ("low", "high"))
        cells.append(judged(value, value > 0.5, more=f" [{short(low)}, {short(high)}]"))
    return ", ".join(cells)


def by_load(name: str, most: float) -> Cell:
    """A ratio or regret by load that should stay below a bound."""
    return lambda sheet: ", ".join(
        judged(value, value > most) for value in (sheet.percent(load, name) for load in LOADS)
    )


def never(sheet: Sheet, scenario: str, name: str) -> str:
    """In how many cases of a hundred a change was not followed before the next; empty for none."""
    share = sheet.value(scenario, name)
    return f" (never in {short(100 * share)} %)" if share > 0 else ""


def answers(value: float, most: float) -> str:
    """How many it took; a figure that is missing is infinite."""
    return "**never**" if math.isnan(value) else judged(value, value > most)


def noise(share: int) -> Cell:
    """Regret with wrong labels, and that of who knows each label's mean."""

    def cell(sheet: Sheet) -> str:
        value, known = (sheet.percent(f"noise{share}", "regret", who) for who in ("adaptive", "label_oracle"))
        return f"{judged(value, value > 0.5)}; {short(known)}"

    return cell


def regret_in(scenario: str) -> Cell:
    """Regret in one scenario."""
    return lambda sheet: judged(value := sheet.percent(scenario, "regret"), value > 0.5)


def observing(sheet: Sheet) -> str:
    """What observe-only costs: the worst task, and the mean."""
    if not sheet.has("load20", "observe_only"):
        return "–"
    worst = sheet.percent("load20", "worst_task_ratio", "observe_only")
    mean = 100 * (1 / sheet.value("load20", "speedup", "observe_only") - 1)
    return f"{judged(worst, worst > 1)} (worst task), {judged(mean, mean > 1)} (mean) at 20 %"


def followed(scenario: str) -> Cell:
    """Answers until a change is followed: median and 95th percentile."""

    def cell(sheet: Sheet) -> str:
        median, p95 = (sheet.value(scenario, f"requests_to_adapt_{q}") for q in ("median", "p95"))
        return f"{answers(median, 5)}, {answers(p95, 15)}{never(sheet, scenario, 'never_adapted')}"

    return cell


def recovered(sheet: Sheet) -> str:
    """Answers until a recovery is followed, 95th percentile."""
    value = sheet.value("collapse", "requests_to_recover_p95")
    return answers(value, 30) + never(sheet, "collapse", "never_recovered")


def alarms(between: str, *names: str) -> Cell:
    """False alarms per 5,000 requests of a task."""

    def cell(sheet: Sheet) -> str:
        values = [sheet.value(name, "false_alarms_per_5000") for name in names]
        return between.join(judged(value, value >= 1) if value else "0" for value in values)

    return cell


def triple(scenario: str, beside: str | None = None) -> Cell:
    """Regret, worst task and p99 in one scenario, with another policy's regret or the oracle's p99."""

    def cell(sheet: Sheet) -> str:
        if not sheet.has(scenario):
            return "–"
        regret = short(sheet.percent(scenario, "regret"))
        if beside:
            regret += f" ({short(sheet.percent(scenario, 'regret', beside))})"
        worst, p99 = (short(sheet.percent(scenario, name)) for name in ("worst_task_ratio", "p99_ratio"))
        best = short(sheet.percent(scenario, "p99_ratio", "per_task_oracle"))
        false = sheet.value(scenario, "false_alarms_per_5000")
        return f"{regret}, {worst}, {p99} [{best}]" + (f"; {short(false)} false alarms" if false >= 1 else "")

    return cell


TARGETS: tuple[tuple[str, Cell], ...] = (
    ("regret ≤ .5 %", regrets),
    ("… with the first 30 % of the requests, which all other figures of loads leave out", by_load("whole_regret", 0.5)),
    ("the same with 10 % of the labels wrong (load 50 %), the classifier sure of each; `label_oracle`", noise(10)),
    ("… and with its doubts told", regret_in("doubts10")),
    ("over the best static k in hindsight: both on four replicas that speculate", over_best("adaptive_no_vanilla")),
    ("… ours with a vanilla replica", over_best("adaptive")),
    (
        "≥ +5 % over vLLM's schedule, never below −1 %: both on four that speculate",
        ahead("adaptive_no_vanilla", "vllm_schedule", 5),
    ),
    ("… ours with a vanilla replica", ahead("adaptive", "vllm_schedule", 5)),
    ("over a tuned threshold on acceptance, both on the same replicas", over_threshold),
    ("≥ +15 % over static k = 4 at 80 and 110 % load (in brackets both on four that speculate)", static),
    ("worst task ≤ 2 % slower than vanilla", by_load("worst_task_ratio", 2)),
    ("p99 ≤ 5 % slower than vanilla", by_load("p99_ratio", 5)),
    ("observe-only ≤ 1 %", observing),
    ("answers until a .3 drop is followed: median ≤ 5, p95 ≤ 15", followed("collapse")),
    ("… until its recovery is followed: p95 ≤ 30", recovered),
    ("the same for a drafter that no longer fits its target", followed("drafter_swap")),
    ("false drift alarms < 1 per 5,000 requests of a task", alarms(", ", *LOADS)),
    ("… with 10 % of the labels wrong; with doubts told", alarms("; ", "noise10", "doubts10")),
    ("cold start within 5 % after 10 requests per task", by_load("cold_start_regret", 5)),
)

MORE: tuple[tuple[str, Cell], ...] = (
    ("30 % of the labels wrong (`label_oracle`'s regret)", triple("noise30", "label_oracle")),
    ("… with doubts told", triple("doubts30")),
    ("a shift of the mix to the other half of the tasks", triple("mix_shift")),
    ("temperatures 0, low and high mixed", triple("sampled")),
    ("bursts of eight", triple("bursts")),
    ("four routers with copies a second old", triple("routers4")),
    ("one replica twice as slow from the middle on", triple("slow_replica")),
    ("a swapped drafter", triple("drafter_swap")),
    ("a collapse by .3 and its recovery (load 20 %)", triple("collapse")),
    ("two vanilla replicas, two that speculate", triple("two_vanilla")),
)


SIMULATED: tuple[tuple[str, Cell], ...] = (
    ("the best static k, on the same four that speculate", over_best("adaptive_no_vanilla")),
    ("… ours as deployed, one of four vanilla", over_best("adaptive")),
    ("vLLM's schedule, on the same four", ahead("adaptive_no_vanilla", "vllm_schedule", 0)),
    ("… ours as deployed", ahead("adaptive", "vllm_schedule", 0)),
    ("a tuned threshold on acceptance, on the same replicas", over_threshold),
)


def markdown(head: str, rows: Sequence[tuple[str, Cell]], sheets: Sequence[Sheet]) -> str:
    """One table."""
    lines = [head.format(" | ".join(sheet.calibration for sheet in sheets)), "|---" * (len(sheets) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cell(sheet) for sheet in sheets)} |" for name, cell in rows]
    return "\n".join(lines)


def rewritten(readme: str, files: Mapping[str, Figures]) -> str:
    """A page with its tables anew, each between its two marks; files that lack a scenario leave it as it is."""
    sheets = [
        Sheet(calibration, files[calibration]) for calibration in ("cpu-demo", "h100-8b-eagle", "h100-8b-eagle-ngram")
    ]
    needed = [
        *((load, policy) for load in LOADS for policy in ("adaptive_no_vanilla", *STATIC)),
        ("drafter_swap", "adaptive"),
    ]
    if not all(sheet.has(*one) for sheet in sheets for one in needed):
        return readme
    rivals = tuple((name, rival(policy)) for policy, name in RIVALS.items())
    tables = {
        mark: markdown(MARKS[mark], rows, sheets)
        for mark, rows in (("targets", TARGETS), ("rivals", rivals), ("simulated", SIMULATED), ("more", MORE))
    }
    if long := files.get("long"):
        tables["long"] = long_table(long)
    for mark, text in tables.items():
        begin, end = f"<!-- {mark} -->\n", f"\n<!-- /{mark} -->"
        before, _, rest = readme.partition(begin)
        _, closed, after = rest.partition(end)
        if closed:
            readme = before + begin + text + end + after
    return readme
