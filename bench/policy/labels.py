"""`python -m bench.policy.labels`: what wrong labels cost the policy, and what more than the task is worth.

Both are compared on the same requests, arrivals and luck. Errors: the adaptive policy where each request gets what the
classifier made of some prompt of its task, against perfect labels; once as if it were sure of each, once with its
doubts. More than the task: the per-task oracle against the same one that is also told of each request's own acceptance,
as a prediction with a given R² within the task would.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field

from bench.policy import measure
from bench.policy.calibration import Calibration
from bench.policy.cluster import Entrant, capacity_tokens_s
from bench.policy.measure import Estimate, Seeded
from bench.policy.oracle import Truth
from bench.policy.protocol import CALIBRATIONS, ORACLE, entrants, scenarios
from bench.policy.reading import validated
from bench.policy.scenario import Scenario
from bench.policy.simulate import simulate
from bench.policy.workload import Ints, Workload, build
from bench.provenance import provenance
from classifiers.label import Likely

LEFT_OUT = Path(__file__).parent / "labels-left-out.jsonl"
"""What the classifier's recipe makes of 1,239 public prompts of sources that it was not trained on:
`alpharoute classifier evaluate FILES --leave-source-out --labels FILE`."""

Labels = Mapping[str, Sequence[Likely]]
"""By true task."""

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


def labelled(workload: Workload, labels: Labels, seed: int) -> Workload:
    """The workload with labels and doubts drawn from those of prompts of the same task; a task without any keeps its
    own."""
    rng = np.random.default_rng([seed, 12])
    names = [workload.tasks[at] for at in workload.task.tolist()]
    known = {name: labels.get(name) or [((name, 1.0),)] for name in workload.tasks}
    likely = [known[name][int(rng.integers(len(known[name])))] for name in names]
    tasks = tuple(dict.fromkeys([*workload.tasks, *(one[0][0] for one in likely)]))
    at = {name: index for index, name in enumerate(tasks)}
    return replace(workload, tasks=tasks, label=np.array([at[one[0][0]] for one in likely]), likely=likely, runs={})


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    task: Annotated[str, Field(min_length=1)]
    likely: Annotated[list[tuple[str, Annotated[float, Field(gt=0, le=1)]]], Field(min_length=1)]


def read_labels(path: Path) -> Labels:
    """Labels by true task from lines of {"task", "likely"}; ValueError with the line and the field that is wrong."""
    found: dict[str, list[Likely]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text.strip():
            try:
                one = validated(_Line, orjson.loads(text), f"{path}, line {number}")
            except orjson.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
            found.setdefault(one.task, []).append(tuple(one.likely))
    if not found:
        raise ValueError(f"{path}: no labels")
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


def costs_of(scenario: Scenario, labels: Labels, seeds: Sequence[int]) -> Costs:
    """Run the scenario with and without errors, and with and without foresight."""
    calibration = scenario.loaded()
    capacity = capacity_tokens_s(scenario, calibration)
    worlds = [Truth(build(scenario, calibration, seed, capacity), calibration.k_max) for seed in seeds]
    unsure = [labelled(world.workload, labels, seed) for world, seed in zip(worlds, seeds, strict=True)]
    certain = [replace(workload, likely=(), runs={}) for workload in unsure]
    adaptive, oracle = (next(e for e in entrants((name,)) if e.name == name) for name in ("adaptive", ORACLE))
    run = _Runner(scenario, calibration, seeds)
    perfect = run(adaptive, worlds)
    doubted, erring = (run(adaptive, [Truth(w, calibration.k_max) for w in each]) for each in (unsure, certain))
    plain = run(oracle, worlds)
    return Costs(
        float(np.mean([(w.label != w.task).mean() for w in unsure])),
        _excess(erring, perfect, scenario),
        _excess(doubted, perfect, scenario),
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
    parser.add_argument(
        "--labels", type=Path, default=LEFT_OUT, help="what `classifier evaluate --labels` wrote (default: shipped)"
    )
    parser.add_argument("--calibration", action="append", help="a shipped calibration or a YAML file; repeat")
    parser.add_argument("--scenario", default="load50", help="a scenario of the protocol")
    parser.add_argument("--requests", type=int, default=1500, help="requests per run")
    parser.add_argument("--seed", type=int, default=1, help="first seed")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--json", type=Path, help="write the figures, with provenance, to this file")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {}
    try:
        labels = read_labels(options.labels)
        for name in options.calibration or CALIBRATIONS:
            known = scenarios(name, options.requests)
            if options.scenario not in known:
                raise ValueError(f"scenario {options.scenario!r}: not one of {', '.join(known)}")
            costs = costs_of(known[options.scenario], labels, range(options.seed, options.seed + options.seeds))
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
