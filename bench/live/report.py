"""From hits to figures: time per token by load, arm, task and temperature, with paired bootstrap intervals."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from statistics import fmean, median, stdev

from rich.table import Column, Table

from bench.live.arms import ARMS, OURS, VANILLA, WARM, Hit
from engines.evaluation_intervals import student

RESAMPLES = 2000
STEADY = 3
"""Answers in a row of the choice that lasts: one may be chance, or a trial."""

LEARNT = 10
"""Requests of a task by which a cold start is to be over."""

STATIC = tuple(name for name in ARMS if name.startswith("always "))
"""The arms that do not decide: of these a team could have picked the best, had it known."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of mean times per token (below 1: ours is faster) with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Session:
    """All hits at one load; `seconds[arm]` is how long the arm took for its requests, one block after the other."""

    load: str
    hits: Sequence[Hit]
    seconds: dict[str, float]

    def of(self, arm: str) -> list[Hit]:
        """The hits of one arm."""
        return [hit for hit in self.hits if hit.arm == arm]


Kind = tuple[str, float]


def by_kind(hits: Sequence[Hit]) -> dict[Kind, dict[str, list[Hit]]]:
    """Hits by task and temperature, then by arm."""
    kinds: dict[Kind, dict[str, list[Hit]]] = defaultdict(lambda: defaultdict(list))
    for hit in hits:
        kinds[hit.shot.task, hit.shot.temperature][hit.arm].append(hit)
    return dict(sorted(kinds.items()))


def mean_ms(hits: Sequence[Hit]) -> float:
    """Mean over requests of milliseconds per token."""
    return fmean(hit.ms_per_token for hit in hits)


def p99_ms(hits: Sequence[Hit]) -> float:
    """The 99th percentile over requests of milliseconds per token; the slowest of fewer than a hundred."""
    ordered = sorted(hit.ms_per_token for hit in hits)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def paired_ratio(ours: Sequence[Hit], other: Sequence[Hit], seed: int = 0) -> Ratio:
    """Ours over the other arm's mean; the bootstrap draws blocks, so that each resample compares the same prompts.

    Requests of one block share a batch: what is independent, and therefore drawn, is the block. Of few blocks the
    percentiles are too narrow (of three, the interval is that of the three ratios and covers 75 %): their standard
    error, times √(n / (n − 1)), is taken by Student's t instead.
    """
    mine, theirs = _by_block(ours), _by_block(other)
    pairs = [(sum(mine[block]), sum(theirs[block])) for block in mine]
    draws, count, value = random.Random(seed), len(pairs), _ratio(pairs)
    if count < 2:
        return Ratio(value, 0.0, math.inf)
    spread = stdev(math.log(_ratio([draws.choice(pairs) for _ in pairs])) for _ in range(RESAMPLES))
    wide = student(count - 1) * spread * math.sqrt(count / (count - 1))
    return Ratio(value, value * math.exp(-wide), value * math.exp(wide))


def _by_block(hits: Sequence[Hit]) -> dict[int, list[float]]:
    blocks: dict[int, list[float]] = defaultdict(list)
    for hit in hits:
        blocks[hit.block].append(hit.ms_per_token)
    return blocks


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(a for a, _ in pairs) / sum(b for _, b in pairs)


def settled(hits: Sequence[Hit]) -> str:
    """Pool and k that the last third of an arm's hits mostly got."""
    last = hits[-max(1, len(hits) // 3) :]
    (pool, k), count = Counter((hit.pool, hit.k) for hit in last).most_common(1)[0]
    return f"{pool} k={k} ({count}/{len(last)})"


def worst_task(session: Session, arm: str) -> float:
    """The largest ratio of an arm's mean to always-vanilla's over the tasks."""
    tasks: dict[str, dict[str, list[Hit]]] = defaultdict(lambda: defaultdict(list))
    for hit in session.hits:
        tasks[hit.shot.task][hit.arm].append(hit)
    return max(mean_ms(found[arm]) / mean_ms(found[VANILLA]) for found in tasks.values())


def oracle_ms(session: Session, *, hindsight: bool = False) -> float | None:
    """Mean time per token of the best fixed choice for each task and temperature; None without all arms of a fixed k
    up to the largest there is.

    What is best for a request is chosen by the others of its kind, which on few requests is sometimes not the best;
    with `hindsight` by all, the timed one too, which flatters the least of noisy means. The truth lies between.
    """
    fixed = [arm for arm in STATIC if session.of(arm)]
    most = max((ARMS[arm].k for arm in fixed), default=0)
    if not most or any(arm not in fixed for arm in STATIC if ARMS[arm].k <= most):
        return None
    found = []
    for arms in by_kind(session.hits).values():
        times = {arm: {hit.block: hit.ms_per_token for hit in arms[arm]} for arm in fixed}
        total = {arm: sum(of.values()) for arm, of in times.items()}
        for block in times[VANILLA]:
            left_out = {arm: 0.0 if hindsight else of[block] for arm, of in times.items()}
            found.append(times[min(fixed, key=lambda arm: total[arm] - left_out[arm])][block])
    return fmean(found)


def learnt(session: Session) -> Session:
    """What was sent after `LEARNT` requests of each task."""
    temperatures = len({hit.shot.temperature for hit in session.hits})
    return replace(session, hits=[hit for hit in session.hits if hit.shot.round * temperatures >= LEARNT])


def regret(session: Session, arm: str, *, hindsight: bool = False) -> float | None:
    """By how much an arm's mean exceeds that of the best fixed choices; None where these, or requests, are lacking."""
    oracle = oracle_ms(session, hindsight=hindsight)
    return None if oracle is None else mean_ms(session.of(arm)) / oracle - 1


def phases(hits: Sequence[Hit]) -> list[list[Hit]]:
    """An arm's hits, in the order in which they were sent, cut wherever the drafter was swapped."""
    ordered = sorted(hits, key=lambda hit: hit.block)
    return [list(phase) for _, phase in groupby(ordered, key=lambda hit: hit.shot.worn)]


def requests_to_adapt(hits: Sequence[Hit]) -> int:
    """How many requests of one task a phase begins with until `STEADY` in a row get the k that it settles on.

    Settled is what most of the second half of the phase got; choices that only try something out later do not count.
    """
    k = Counter(hit.k for hit in hits[len(hits) // 2 :]).most_common(1)[0][0]
    same = [hit.k == k for hit in hits]
    steady = (start for start in range(len(same) - STEADY + 1) if all(same[start : start + STEADY]))
    return next(steady, len(same))


def adaptation(session: Session, arm: str) -> dict[str, object] | None:
    """Median and largest number of requests of a task until it follows a swap of the drafter, by phase.

    None where nothing is swapped, and for arms that do not decide: what never changes would have settled at once.
    """
    found = phases(session.of(arm))
    if len(found) == 1 or arm in STATIC:
        return None
    counts = [sorted(requests_to_adapt(hits) for hits in by_task(phase).values()) for phase in found[1:]]
    return {
        name: {"median": median(each), "largest": each[-1], "tasks": len(each)}
        for name, each in zip(("collapse", "recovery"), counts, strict=True)
    }


def by_task(hits: Sequence[Hit]) -> dict[str, list[Hit]]:
    """Hits by the task of their prompt."""
    tasks: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        tasks[hit.shot.task].append(hit)
    return dict(sorted(tasks.items()))


def figures(session: Session, arm: str) -> dict[str, object]:
    """What one arm did at one load; ratios are ours over the arm."""
    hits = session.of(arm)
    found: dict[str, object] = {
        "mean_ms_per_token": mean_ms(hits),
        "p99_ms_per_token": p99_ms(hits),
        "tokens_per_s": sum(hit.tokens for hit in hits) / session.seconds[arm],
        "regret": regret(session, arm),
        "regret_in_hindsight": regret(session, arm, hindsight=True),
        f"regret_after_{LEARNT}": regret(learnt(session), arm),
        "worst_task_ratio": worst_task(session, arm) if session.of(VANILLA) else None,
        "requests": len(hits),
        "requests_to_adapt": adaptation(session, arm),
    }
    for ours, name in ((OURS, "ours_over"), (WARM, "warm_over")):
        if ours != arm and session.of(ours):
            found[name] = asdict(paired_ratio(session.of(ours), hits))
    return found


def summary(sessions: Sequence[Session], arms: Sequence[str], workload: str) -> dict[str, object]:
    """Workload → load → arm → figures, what each task ended on, and every request."""
    return {
        "results": {str(workload): {s.load: {arm: figures(s, arm) for arm in arms} for s in sessions}},
        "by_task": {
            s.load: [
                {
                    "task": task,
                    "temperature": temperature,
                    "mean_ms_per_token": {arm: mean_ms(found[arm]) for arm in arms},
                    "ours_ended_on": settled(found[OURS]) if OURS in found else None,
                }
                for (task, temperature), found in by_kind(s.hits).items()
            ]
            for s in sessions
        },
        "requests": {s.load: s.hits for s in sessions},
    }


def tables(session: Session, arms: Sequence[str]) -> list[Table]:
    """The comparison by task and temperature, and the totals, at one load."""
    return [_detail(session, arms), _total(session, arms)]


def _detail(session: Session, arms: Sequence[str]) -> Table:
    """A row for each arm and a column for each task, over all temperatures: arms may be many."""
    tasks = by_task(session.hits)
    heads = (Column(task.replace("_", " "), justify="right", overflow="fold") for task in tasks)
    table = Table("arm", *heads, title=f"Milliseconds per token by task, {session.load}")
    means = {task: {arm: mean_ms([h for h in hits if h.arm == arm]) for arm in arms} for task, hits in tasks.items()}
    for arm in arms:
        table.add_row(arm, *(_marked(found[arm], min(found.values())) for found in means.values()))
    if OURS in arms:
        ours = ([hit for hit in hits if hit.arm == OURS] for hits in tasks.values())
        table.add_row("adaptive ended on", *map(settled, ours))
    return table


def _total(session: Session, arms: Sequence[str]) -> Table:
    columns = ("arm", "ms/token", "p99", "tokens/s", "worst task / vanilla", "ours / arm [95 %]")
    table = Table(*columns, title=f"All prompts, {session.load}, {len(session.of(arms[0]))} requests an arm")
    for arm in arms:
        found = figures(session, arm)
        ratio = paired_ratio(session.of(OURS), session.of(arm)) if "ours_over" in found else None
        worst = found["worst_task_ratio"]
        table.add_row(
            arm,
            *(f"{found[name]:.2f}" for name in ("mean_ms_per_token", "p99_ms_per_token", "tokens_per_s")),
            "" if worst is None else f"{worst:.2f}",
            str(ratio or ""),
        )
    for name, hindsight in (("best fixed choice per task and T", False), ("the same, in hindsight", True)):
        if (oracle := oracle_ms(session, hindsight=hindsight)) is not None:
            table.add_row(name, f"{oracle:.2f}")
    return table


def _marked(value: float, best: float) -> str:
    return f"[bold]{value:.2f}[/]" if value <= best * 1.02 else f"{value:.2f}"
