"""`python -m bench.policy.labels`: what wrong labels cost the policy, and what more than the task is worth.

Both are compared on the same requests, arrivals and luck. Errors: the adaptive policy where each label is drawn from
the classifier's confusion matrix, against perfect labels; once as if it were sure of each, once with its doubts, taken
to be calibrated and uniform up to a half (`bench.policy.workload.with_doubts`). More than the task: the per-task oracle
against the same one that is also told of each request's own acceptance, as a prediction with a given R² within the task
would.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import orjson

from bench.policy import measure
from bench.policy.calibration import Calibration
from bench.policy.cluster import Entrant, capacity_tokens_s
from bench.policy.measure import Estimate, Seeded
from bench.policy.oracle import Truth
from bench.policy.protocol import CALIBRATIONS, ORACLE, entrants, scenarios
from bench.policy.scenario import Scenario
from bench.policy.simulate import simulate
from bench.policy.workload import Ints, Workload, build, with_doubts
from bench.provenance import provenance
from classifiers.artefact import SHIPPED

Confusion = Mapping[str, Mapping[str, float]]

R_SQUARED = (0.1, 0.3, 1.0)
NOISE = (0.1,)


@dataclass(slots=True)
class Foreseen(Truth):
    """The truth per task, and of each request what a calibrated prediction with this R² within its task says of it.

    The prediction is R² · its own deviation + √(R² − R⁴) · that of a stranger from the same task, so that its variance
    is R² of the deviations'. The deviation holds the luck of the answer too, which no prompt tells: this flatters.
    One that is not `informed` is the control: as varied, and all of it a stranger's.
    """

    r_squared: float = 0.0
    informed: bool = True
    strangers: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def of_task(self, drafter: str, request: int) -> tuple[float, ...]:
        """E(k) as predicted for this request."""
        mean = Truth.of_task(self, drafter, request)
        own, other = (self.of_request(drafter, at) for at in (request, int(self.strangers[request])))
        keep = self.r_squared if self.informed else 0.0
        stray = (self.r_squared - keep**2) ** 0.5
        return tuple(max(1.0, m + keep * (o - m) + stray * (s - m)) for m, o, s in zip(mean, own, other, strict=True))


def foreseen(workload: Workload, k_max: int, r_squared: float, seed: int, *, informed: bool = True) -> Foreseen:
    """The knowledge of a prediction with this R², the strangers drawn by the seed."""
    rng = np.random.default_rng([seed, 11])
    strangers = np.arange(len(workload.task))
    for task in np.unique(workload.task):
        same = (workload.task == task).nonzero()[0]
        strangers[same] = rng.permutation(same)
    return Foreseen(workload, k_max, r_squared=r_squared, informed=informed, strangers=strangers)


def mislabelled(workload: Workload, confusion: Confusion, seed: int) -> Workload:
    """The workload with each label drawn from its task's row; tasks without a row keep theirs."""
    rng = np.random.default_rng([seed, 12])
    tasks = tuple(dict.fromkeys([*workload.tasks, *(name for row in confusion.values() for name in row)]))
    label = workload.task.copy()
    for at, task in enumerate(workload.tasks):
        row = confusion.get(task)
        if row:
            here = workload.task == at
            shares = np.array([row.get(name, 0.0) for name in tasks])
            label[here] = rng.choice(len(tasks), int(here.sum()), p=shares / shares.sum())
    return replace(workload, tasks=tasks, label=label)


def read_confusion(path: Path) -> Confusion:
    """The confusion matrix in a classifier's card.json or in what `classifier evaluate --json` printed."""
    data = orjson.loads(path.read_bytes())
    found = data.get("scores_on_sources_left_out", data).get("confusion") if isinstance(data, dict) else None
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{path} holds no confusion matrix: a classifier's card.json or scores as JSON are allowed")
    return found


@dataclass(frozen=True, slots=True)
class Costs:
    """Time per token over that of the reference, less one: of label errors silent and doubted, of each R² foreseen, of
    as much noise."""

    wrong_labels: float
    errors: Estimate
    doubted: Estimate
    foreseen: dict[float, Estimate]
    noise: dict[float, Estimate]

    def as_json(self) -> dict[str, object]:
        """Plain figures; negative is a gain."""
        return {
            "wrong_labels": round(self.wrong_labels, 4),
            "errors": self.errors.as_json(),
            "doubted": self.doubted.as_json(),
            "foreseen": {str(share): estimate.as_json() for share, estimate in self.foreseen.items()},
            "noise": {str(share): estimate.as_json() for share, estimate in self.noise.items()},
        }


def costs_of(scenario: Scenario, confusion: Confusion, seeds: Sequence[int]) -> Costs:
    """Run the scenario with and without errors, and with and without foresight."""
    calibration = scenario.loaded()
    capacity = capacity_tokens_s(scenario, calibration)
    worlds = [Truth(build(scenario, calibration, seed, capacity), calibration.k_max) for seed in seeds]
    blurred = [mislabelled(world.workload, confusion, seed) for world, seed in zip(worlds, seeds, strict=True)]
    adaptive, oracle = (next(e for e in entrants((name,)) if e.name == name) for name in ("adaptive", ORACLE))
    run = _Runner(scenario, calibration, seeds)
    perfect = run(adaptive, worlds)
    erring = run(adaptive, [Truth(workload, calibration.k_max) for workload in blurred])
    doubting = [with_doubts(w, np.random.default_rng([seed, 13])) for w, seed in zip(blurred, seeds, strict=True)]
    unsure = run(adaptive, [Truth(workload, calibration.k_max) for workload in doubting])
    plain = run(oracle, worlds)
    return Costs(
        float(np.mean([(w.label != w.task).mean() for w in blurred])),
        _excess(erring, perfect, scenario),
        _excess(unsure, perfect, scenario),
        {share: _excess(run(oracle, run.foresight(worlds, share)), plain, scenario) for share in R_SQUARED},
        {share: _excess(run(oracle, run.foresight(worlds, share, informed=False)), plain, scenario) for share in NOISE},
    )


@dataclass(frozen=True, slots=True)
class _Runner:
    scenario: Scenario
    calibration: Calibration
    seeds: Sequence[int]

    def __call__(self, entrant: Entrant, truths: Sequence[Truth]) -> Seeded:
        pairs = zip(truths, self.seeds, strict=True)
        return Seeded(
            truths, [simulate(entrant, self.scenario, self.calibration, t.workload, t, seed) for t, seed in pairs]
        )

    def foresight(self, worlds: Sequence[Truth], share: float, *, informed: bool = True) -> list[Foreseen]:
        pairs = zip(worlds, self.seeds, strict=True)
        return [
            foreseen(world.workload, self.calibration.k_max, share, seed, informed=informed) for world, seed in pairs
        ]


def _excess(run: Seeded, reference: Seeded, scenario: Scenario) -> Estimate:
    mine, best = (measure.block_means(r, scenario, [x.seconds_per_token for x in r.results]) for r in (run, reference))
    return measure.less_one(measure.ratio(mine, best))


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, print; 2 with the reason on standard error where an option is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.policy.labels", description=__doc__)
    parser.add_argument("--confusion", type=Path, default=SHIPPED / "card.json", help="card.json, or scores as JSON")
    parser.add_argument("--calibration", action="append", help="a shipped calibration or a YAML file; repeat")
    parser.add_argument("--scenario", default="load50", help="a scenario of the protocol")
    parser.add_argument("--requests", type=int, default=1500, help="requests per run")
    parser.add_argument("--seed", type=int, default=1, help="first seed")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--json", type=Path, help="write the figures, with provenance, to this file")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {}
    try:
        confusion = read_confusion(options.confusion)
        for name in options.calibration or CALIBRATIONS:
            known = scenarios(name, options.requests)
            if options.scenario not in known:
                raise ValueError(f"scenario {options.scenario!r}: not one of {', '.join(known)}")
            costs = costs_of(known[options.scenario], confusion, range(options.seed, options.seed + options.seeds))
            print(line(f"{name}/{options.scenario}", costs), flush=True)
            found[name] = costs.as_json()
    except (OSError, ValueError) as error:
        print(f"bench.policy.labels: {error}", file=sys.stderr)
        return 2
    if options.json:
        result = {"provenance": provenance(), "scenario": options.scenario, "calibrations": found}
        options.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return 0


def line(name: str, costs: Costs) -> str:
    """One calibration's costs in words."""
    shares = ", ".join(f"R² {share:g}: {_percent(estimate)}" for share, estimate in costs.foreseen.items())
    shares += "".join(f", noise of {share:g}: {_percent(estimate)}" for share, estimate in costs.noise.items())
    wrong = f"{costs.wrong_labels:.1%} wrong labels cost {_percent(costs.errors)}, doubted {_percent(costs.doubted)}"
    return f"{name}: {wrong}; foresight {shares}"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:+.2%} [{estimate.low:+.2%}, {estimate.high:+.2%}]"


if __name__ == "__main__":
    sys.exit(main())
