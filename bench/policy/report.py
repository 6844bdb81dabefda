"""One scenario through every entrant, and its figures as rows of a table or JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.policy import measure
from bench.policy.cluster import Entrant, capacity_tokens_s
from bench.policy.measure import Estimate, Seeded
from bench.policy.oracle import Truth
from bench.policy.protocol import ORACLE, VANILLA
from bench.policy.scenario import Scenario
from bench.policy.simulate import simulate
from bench.policy.workload import Workload, build, from_traces

COLUMNS = (
    "speedup",
    "regret",
    "worst_task_ratio",
    "p99_ratio",
    "goodput",
    "tokens_per_replica_s",
    "requests_to_adapt_median",
    "requests_to_adapt_p95",
    "requests_to_recover_p95",
    "false_alarms_per_5000",
    "exploration_cost",
    "cold_start_regret",
    "decision_us_p99",
    "decision_us_mean",
    "mean_k",
    "speculative_share",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One entrant's figures in one scenario; `worst_task` names the task behind `worst_task_ratio`."""

    policy: str
    figures: dict[str, Estimate]
    worst_task: str

    def as_json(self) -> dict[str, object]:
        """The row without its name: every figure with its interval."""
        return {name: estimate.as_json() for name, estimate in self.figures.items()}


def compare(
    scenario: Scenario, entrants: Sequence[Entrant], seeds: Sequence[int], traces: str | None = None
) -> list[Row]:
    """Run every entrant over the same workloads."""
    calibration = scenario.loaded()
    capacity = capacity_tokens_s(scenario, calibration)
    workloads = [build(scenario, calibration, seed, capacity) for seed in seeds]
    if traces := traces or scenario.traces:
        workloads = [
            from_traces(traces, w, next(iter(calibration.drafters)), seed)
            for w, seed in zip(workloads, seeds, strict=True)
        ]
    truths = [Truth(workload, calibration.k_max) for workload in workloads]
    runs = {
        entrant.name: Seeded(
            truths,
            [
                simulate(entrant, scenario, calibration, w, t, s)
                for w, t, s in zip(workloads, truths, seeds, strict=True)
            ],
        )
        for entrant in entrants
    }
    return [_row(name, run, runs[VANILLA], runs[ORACLE], scenario) for name, run in runs.items()]


def _row(name: str, run: Seeded, vanilla: Seeded, oracle: Seeded, scenario: Scenario) -> Row:
    times = [r.seconds_per_token for r in run.results]
    mine = measure.block_means(run, scenario, times)
    plain = measure.block_means(vanilla, scenario, [r.seconds_per_token for r in vanilla.results])
    best = measure.block_means(oracle, scenario, [r.seconds_per_token for r in oracle.results])
    task, worst = measure.worst_task(run, vanilla, scenario)
    adapt = measure.requests_to_adapt(run, scenario)
    recover = measure.requests_to_adapt(run, scenario, recovery=True)
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    figures = {
        "speedup": measure.inverse(measure.ratio(mine, plain)),
        "regret": measure.less_one(measure.ratio(mine, best)),
        "whole_regret": measure.less_one(measure.whole_ratio(run, oracle, scenario)),
        "worst_task_ratio": worst,
        "p99_ratio": measure.p99_ratio(run, vanilla, scenario),
        "goodput": measure.goodput(run, vanilla, scenario),
        "tokens_per_replica_s": measure.tokens_per_replica_s(run),
        "requests_to_adapt_median": _quantile(adapt, 50) if adapt else nothing,
        "requests_to_adapt_p95": _quantile(adapt, 95) if adapt else nothing,
        "requests_to_recover_p95": _quantile(recover, 95) if recover else nothing,
        "never_adapted": measure.over_seeds([float(np.isinf(count)) for count in adapt]),
        "never_recovered": measure.over_seeds([float(np.isinf(count)) for count in recover]),
        "false_alarms_per_5000": measure.false_alarms(run, scenario),
        "exploration_cost": measure.over_seeds([r.excess for r in run.results]),
        "cold_start_regret": measure.cold_start(run, oracle),
        "decision_us_p99": measure.over_seeds([float(np.percentile(r.decision_s, 99) * 1e6) for r in run.results]),
        "decision_us_mean": measure.over_seeds([float(r.decision_s.mean() * 1e6) for r in run.results]),
        "mean_k": measure.over_seeds([float(r.k.mean()) for r in run.results]),
        "speculative_share": measure.over_seeds([float(r.speculative.mean()) for r in run.results]),
    }
    return Row(name, figures, task)


def _quantile(values: Sequence[float], at: float) -> Estimate:
    rng = np.random.default_rng(1)
    array = np.array(values)
    picks = array[rng.integers(0, len(array), (measure.DRAWS, len(array)))]
    # A value that occurred: between a finite and an infinite one there is none.
    draws = np.percentile(picks, at, axis=1, method="inverted_cdf")
    low, high = np.percentile(draws, [2.5, 97.5], method="inverted_cdf")
    return Estimate(float(np.percentile(array, at, method="inverted_cdf")), float(low), float(high))


def table(name: str, rows: Sequence[Row]) -> str:
    """A plain table of one scenario."""
    head = f"{'policy':22}{'speedup':>9}{'regret':>24}{'worst task':>22}{'p99':>7}"
    head += f"{'goodput':>9}{'tok/s':>8}{'adapt':>11}{'alarms':>8}{'k':>6}"
    lines = [name, head]
    for row in rows:
        f = row.figures
        regret = f"{f['regret'].value:.1%} [{f['regret'].low:.1%}, {f['regret'].high:.1%}]"
        worst = f"{f['worst_task_ratio'].value:.2f} {row.worst_task[:16]}"
        adapt = f"{_cell(f['requests_to_adapt_median'])}/{_cell(f['requests_to_adapt_p95'])}"
        lines.append(
            f"{row.policy:22}{f['speedup'].value:9.2f}{regret:>24}{worst:>22}{f['p99_ratio'].value:7.2f}"
            f"{f['goodput'].value:9.2f}{f['tokens_per_replica_s'].value:8.0f}{adapt:>11}{_cell(f['false_alarms_per_5000']):>8}{f['mean_k'].value:6.1f}"
        )
    return "\n".join(lines)


def _cell(of: Estimate) -> str:
    return "–" if np.isnan(of.value) else "never" if np.isinf(of.value) else f"{of.value:.1f}"


def workload_of(scenario: Scenario, seed: int) -> Workload:
    """The workload of a scenario and seed."""
    calibration = scenario.loaded()
    return build(scenario, calibration, seed, capacity_tokens_s(scenario, calibration))
