"""From runs to the figures of the report, with paired bootstrap intervals over blocks of requests of every seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.policy.oracle import Truth
from bench.policy.result import Result
from bench.policy.scenario import Scenario
from bench.policy.workload import Workload

Floats = NDArray[np.float64]

DRAWS = 400
BLOCKS = 40
FOLLOWED = 0.1
RUN_LENGTH = 3
FEWEST = 20
"""Requests of a task below which its ratio says nothing, where another task has more."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Plain numbers, null where the scenario does not show the figure."""
        return {"value": _short(self.value), "low": _short(self.low), "high": _short(self.high)}


@dataclass(frozen=True, slots=True)
class Seeded:
    """One policy's runs of a scenario, one per seed, with the workloads they met."""

    truths: Sequence[Truth]
    results: Sequence[Result]

    @property
    def workloads(self) -> list[Workload]:
        """The workloads, one per seed."""
        return [truth.workload for truth in self.truths]


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def settled(scenario: Scenario, n: int) -> slice:
    """The requests that count: after the warm-up share."""
    return slice(int(scenario.warm * n), n)


def block_means(of: Seeded, scenario: Scenario, values: Sequence[Floats], tasks: int | None = None) -> Floats:
    """Sums and counts of a per-request value per (seed, block): array of shape (seeds · BLOCKS, 2); only one task if
    named."""
    rows = []
    for workload, value in zip(of.workloads, values, strict=True):
        part = settled(scenario, len(value))
        chosen = value[part]
        keep = np.ones(len(chosen), dtype=np.bool_) if tasks is None else workload.task[part] == tasks
        for block in np.array_split(np.arange(len(chosen)), BLOCKS):
            inside = keep[block]
            rows.append((chosen[block][inside].sum(), inside.sum()))
    return np.array(rows, dtype=np.float64)


def ratio(top: Floats, bottom: Floats, seed: int = 1) -> Estimate:
    """Ratio of two means over the same blocks, with a percentile bootstrap that draws whole blocks for both."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(top), (DRAWS, len(top)))
    value = _mean(top.sum(axis=0)) / _mean(bottom.sum(axis=0))
    draws = _mean(top[picks].sum(axis=1).T) / _mean(bottom[picks].sum(axis=1).T)
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def whole_ratio(top: Seeded, bottom: Seeded, scenario: Scenario) -> Estimate:
    """Ratio of the mean seconds per token, the start that the other figures leave out (`warm`) included."""
    whole = scenario.model_copy(update={"warm": 0.0})
    mine, best = (block_means(run, whole, [r.seconds_per_token for r in run.results]) for run in (top, bottom))
    return ratio(mine, best)


def _mean(sums: Floats) -> Floats:
    means: Floats = sums[0] / np.maximum(sums[1], 1e-12)
    return means


def over_seeds(values: Sequence[float], seed: int = 1) -> Estimate:
    """Mean of one figure per seed, with a bootstrap over seeds."""
    array = np.array([v for v in values if np.isfinite(v)])
    if not len(array):
        return Estimate(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    draws = array[rng.integers(0, len(array), (DRAWS, len(array)))].mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(float(array.mean()), float(low), float(high))


def inverse(of: Estimate) -> Estimate:
    """1 / figure."""
    return Estimate(1 / of.value, 1 / of.high, 1 / of.low)


def less_one(of: Estimate) -> Estimate:
    """Figure − 1."""
    return Estimate(of.value - 1, of.low - 1, of.high - 1)


def p99_ratio(policy: Seeded, vanilla: Seeded, scenario: Scenario) -> Estimate:
    """99th percentile of seconds per token over vanilla's, per seed."""
    ratios = []
    for mine, theirs in zip(policy.results, vanilla.results, strict=True):
        part = settled(scenario, len(mine.seconds_per_token))
        ratios.append(
            float(np.percentile(mine.seconds_per_token[part], 99) / np.percentile(theirs.seconds_per_token[part], 99))
        )
    return over_seeds(ratios)


def worst_task(policy: Seeded, vanilla: Seeded, scenario: Scenario) -> tuple[str, Estimate]:
    """The task with the largest mean time per token over vanilla's, with its interval."""
    found: tuple[str, Estimate] | None = None
    most = max(
        int((w.task[settled(scenario, len(w.task))] == t).sum()) for w in policy.workloads for t in range(len(w.tasks))
    )
    mine = [r.seconds_per_token for r in policy.results]
    theirs = [r.seconds_per_token for r in vanilla.results]
    for index, task in enumerate(policy.workloads[0].tasks):
        top = block_means(policy, scenario, mine, index)
        if top[:, 1].sum() < min(FEWEST, most):
            continue
        estimate = ratio(top, block_means(vanilla, scenario, theirs, index))
        if found is None or estimate.value > found[1].value:
            found = (task, estimate)
    assert found is not None
    return found


def goodput(policy: Seeded, vanilla: Seeded, scenario: Scenario) -> Estimate:
    """Share of requests whose time per token meets the scenario's target (vanilla's own median where none is set)."""
    shares = []
    for mine, theirs in zip(policy.results, vanilla.results, strict=True):
        part = settled(scenario, len(mine.seconds_per_token))
        target = (scenario.tpot_target_ms or 0) / 1e3 or float(np.median(theirs.seconds_per_token[part]))
        shares.append(float((mine.seconds_per_token[part] <= target).mean()))
    return over_seeds(shares)


def tokens_per_replica_s(policy: Seeded) -> Estimate:
    """Tokens served per second in which a replica had a request: what idles may sleep, or be scaled down."""
    pairs = zip(policy.workloads, policy.results, strict=True)
    return over_seeds([float(workload.output_tokens.sum() / max(result.busy_s, 1e-9)) for workload, result in pairs])


def requests_to_adapt(policy: Seeded, scenario: Scenario, recovery: bool = False) -> list[float]:
    """Per seed, changed task and phase: answers of the task in the new phase until the belief follows.

    Phases in which acceptance comes back (`recovery`) count apart from those in which it changes. Followed: in
    `RUN_LENGTH` decisions running the believed first-position acceptance is within `FOLLOWED` of the true one. Counted
    are the answers of the task that had been decided in the new phase and had ended before: only they can teach. One
    that never follows counts as infinitely many.
    """
    counts: list[float] = []
    for truth, result in zip(policy.truths, policy.results, strict=True):
        workload = truth.workload
        for index, phase in enumerate(scenario.phases, start=1):
            changed = phase.h_change is not None or phase.drafters is not None
            if not changed or (phase.h_change == 0) != recovery:
                continue
            tasks = phase.h_change_tasks or workload.tasks
            counts += [_followed(truth, result, index, workload.tasks.index(task)) for task in tasks]
    return [c for c in counts if not np.isnan(c)]


def _followed(truth: Truth, result: Result, phase: int, task: int) -> float:
    workload = truth.workload
    at = np.nonzero((workload.task == task) & (workload.phase == phase) & (workload.label == task))[0]
    at = at[workload.bucket[at] == np.bincount(workload.bucket[at], minlength=1).argmax()] if len(at) else at
    if len(at) < 2 * RUN_LENGTH or not np.isfinite(result.believed[at]).all():
        return float("nan")
    true = truth.of_task(next(iter(workload.landed)), int(at[0]))[1] - 1
    near = np.abs(result.believed[at] - true) <= FOLLOWED
    run = 0
    for position, good in enumerate(near):
        run = run + 1 if good else 0
        if run == RUN_LENGTH:
            decided_s = workload.arrival_s[at[position - RUN_LENGTH + 1]]
            return float((result.ended_s[at] < decided_s).sum())
    return float("inf")


def false_alarms(policy: Seeded, scenario: Scenario) -> Estimate:
    """Drift alarms per task and 5,000 of its requests where acceptance did not change (nan where it did)."""
    if any(phase.h_change is not None or phase.drafters for phase in scenario.phases):
        return Estimate(float("nan"), float("nan"), float("nan"))
    rates = []
    for result in policy.results:
        alarms = sum(event.kind == "drift" for event in result.events)
        rates.append(alarms * 5000 / len(result.k))
    return over_seeds(rates)


def cold_start(policy: Seeded, oracle: Seeded) -> Estimate:
    """Mean seconds per token over the oracle's, less 1, from the 10th to the 30th request per task of each run."""
    values = []
    for workload, mine, best in zip(policy.workloads, policy.results, oracle.results, strict=True):
        part = slice(10 * len(workload.tasks), 30 * len(workload.tasks))
        if len(mine.k) <= part.start:
            continue
        values.append(float(mine.seconds_per_token[part].mean() / best.seconds_per_token[part].mean() - 1))
    return over_seeds(values)
