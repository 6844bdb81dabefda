"""The traffic of one run: arrivals, tasks, lengths, and how many drafts each drafter would land at every token of
every answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from bench.policy.answer import NO_PROPOSAL, Answer, Run, walk
from bench.policy.calibration import Calibration, Drafter, Spread
from bench.policy.reading import validated
from bench.policy.scenario import Phase, Scenario
from classifiers.label import Likely

BUCKETS = ("0", "low", "high")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(slots=True)
class Workload:
    """Requests in order of arrival; `landed[drafter]` holds per token of every answer how many drafts would be
    accepted there.

    `likely` has of each request the tasks that the classifier takes it for, `label` first; empty where it is never in
    doubt.
    """

    tasks: tuple[str, ...]
    arrival_s: Floats
    task: Ints
    label: Ints
    bucket: Ints
    phase: Ints
    prompt_tokens: Ints
    output_tokens: Ints
    aborted: NDArray[np.bool_]
    starts: Ints
    landed: dict[str, Bytes]
    likely: Sequence[Likely] = ()
    runs: dict[tuple[str, int, int], Run] = field(default_factory=dict)

    def run(self, drafter: str, request: int, k: int) -> Run:
        """How the answer goes with k drafts per step (kept: every policy meets the same luck)."""
        key = (drafter, request, k)
        found = self.runs.get(key)
        if found is None:
            found = self.runs[key] = walk(self._tokens(drafter, request), k)
        return found

    def answer(self, drafter: str, request: int) -> Answer:
        """The answer of a request, to be drafted at a k that changes."""
        return Answer(self._tokens(drafter, request))

    def _tokens(self, drafter: str, request: int) -> bytes:
        start = int(self.starts[request])
        return self.landed[drafter][start : start + int(self.output_tokens[request]) - 1].tobytes()


def with_doubts(workload: Workload, rng: np.random.Generator) -> Workload:
    """The workload with a second task for some labels, and the probability (below ½) that it is the right one.

    Calibrated per label and second task: among requests of one doubt d the share d is of the second task. All wrong
    labels are doubted and as many right ones as that takes; d is uniform over the doubted. A label that is wrong more
    often than right is doubted by half.
    """
    task, label, n = workload.task, workload.label, len(workload.task)
    doubt, second = np.zeros(n), task.copy()
    for name in np.unique(label):
        here = np.nonzero(label == name)[0]
        wrong = here[task[here] != name]
        right = here[task[here] == name]
        share = len(wrong) / len(here)
        if not len(wrong):
            continue
        least = min(max(0.0, 2 * share - 0.5), 0.5)
        doubt[wrong] = np.sqrt(least**2 + rng.random(len(wrong)) * (0.25 - least**2))
        doubted = share / ((least + 0.5) / 2)
        chosen = right[rng.random(len(right)) < (doubted - share) / max(1 - share, 1e-9)]
        top = (1 - least) ** 2
        doubt[chosen] = 1 - np.sqrt(top - rng.random(len(chosen)) * (top - 0.25))
        second[chosen] = rng.choice(task[wrong], len(chosen))
    names = [[workload.tasks[at] for at in of.tolist()] for of in (label, second)]
    likely = [
        ((own, 1 - share), (other, share)) if share else ((own, 1.0),)
        for own, other, share in zip(*names, doubt.tolist(), strict=True)
    ]
    return replace(workload, likely=likely, runs={})


def build(scenario: Scenario, calibration: Calibration, seed: int, capacity_tokens_s: float) -> Workload:
    """The workload of a scenario and seed; the same for every policy. Arrivals offer `load` of the token capacity."""
    rng = np.random.default_rng([seed, 20_260])
    n, tasks = scenario.requests, calibration.tasks
    phases = (Phase(at=0.0), *scenario.phases)
    phase = np.searchsorted([p.at for p in phases], np.arange(n) / n, side="right") - 1
    task = _tasks(scenario, phases, phase, tasks, rng)
    wrong = rng.random(n) < scenario.noise
    label = np.where(wrong, rng.integers(0, len(tasks), n), task)
    shares = np.array([scenario.temperatures.get(b, 0.0) for b in BUCKETS])  # type: ignore[call-overload]  # literals
    bucket = rng.choice(len(BUCKETS), n, p=shares / shares.sum())
    output = _lengths(calibration.output_tokens, n, rng)
    starts = np.concatenate([[0], np.cumsum(output)[:-1]])
    landed = {
        name: _landed(name, scenario, calibration, phases, (task, bucket, phase, output), rng)
        for name in calibration.drafters
    }
    found = Workload(
        tasks,
        _arrivals(scenario, phases, phase, capacity_tokens_s / float(output.mean()), rng),
        task,
        label,
        bucket,
        phase,
        _lengths(calibration.prompt_tokens, n, rng),
        output,
        rng.random(n) < scenario.abort,
        starts,
        landed,
    )
    return with_doubts(found, np.random.default_rng([seed, 13])) if scenario.doubts else found


def _tasks(
    scenario: Scenario, phases: tuple[Phase, ...], phase: Ints, tasks: tuple[str, ...], rng: np.random.Generator
) -> Ints:
    chosen = np.zeros(len(phase), dtype=np.int64)
    mix = scenario.mix or dict.fromkeys(tasks, 1.0)
    for index, change in enumerate(phases):
        mix = change.mix or mix
        shares = np.array([mix.get(name, 0.0) for name in tasks])
        here = phase == index
        chosen[here] = rng.choice(len(tasks), int(here.sum()), p=shares / shares.sum())
    return chosen


def _lengths(spread: Spread, n: int, rng: np.random.Generator) -> Ints:
    centre = np.log(spread.mean) - spread.spread**2 / 2
    return np.maximum(spread.smallest, rng.lognormal(centre, spread.spread, n).round()).astype(np.int64)


def _arrivals(
    scenario: Scenario, phases: tuple[Phase, ...], phase: Ints, full_rate: float, rng: np.random.Generator
) -> Floats:
    """Poisson arrivals, or bursts of geometric size whose starts are Poisson; the rate follows each phase's load."""
    n = len(phase)
    loads = np.array([p.load or scenario.load for p in phases])[phase]
    gaps = rng.exponential(1.0, n) / (full_rate * loads)
    if scenario.burst > 1:
        first = rng.random(n) < 1 / scenario.burst
        gaps = np.where(first, gaps * scenario.burst, 1e-3)
    return np.cumsum(gaps)


def survival_curve(drafter: Drafter, task: str, k_max: int, factor: float, change: float) -> Floats:
    """S(1) … S(k_max) of a task, its conditional acceptances times `factor` plus `change`."""
    known = np.array(drafter.tasks.get(task) or next(iter(drafter.tasks.values())), dtype=np.float64)
    previous = np.concatenate([[1.0], known[:-1]])
    h = np.where(previous > 0, known / np.maximum(previous, 1e-9), 0.0)
    h = np.concatenate([h, np.full(max(0, k_max - len(h)), h[-1])])[:k_max]
    return np.cumprod(np.clip(h * factor + change, 0.01, 0.99))


def _landed(
    name: str,
    scenario: Scenario,
    calibration: Calibration,
    phases: tuple[Phase, ...],
    of: tuple[Ints, Ints, Ints, Ints],
    rng: np.random.Generator,
) -> Bytes:
    """Accepted drafts at every token: a uniform with streaks against S^g, g the prompt's own exponent."""
    task, bucket, phase, output = of
    base, total = calibration.drafters[name], int(output.sum())
    luck = _streaky(output, total, base.streak, rng)
    exponent = np.exp(base.prompt_spread * rng.standard_normal(len(output)))
    luck = luck ** (1 / np.repeat(exponent, output))
    proposes = _streaky(output, total, base.streak, rng) < base.coverage
    group = np.repeat((phase * len(calibration.tasks) + task) * len(BUCKETS) + bucket, output)
    landed = np.zeros(total, dtype=np.uint8)
    for key in np.unique(group):
        rest, b = divmod(int(key), len(BUCKETS))
        p, t = divmod(rest, len(calibration.tasks))
        curve = _phase_curve(name, scenario, calibration, phases[: p + 1], calibration.tasks[t], BUCKETS[b])
        here = group == key
        landed[here] = np.searchsorted(-curve, -luck[here], side="left")
    return np.where(proposes, landed, NO_PROPOSAL).astype(np.uint8)


def _phase_curve(
    name: str, scenario: Scenario, calibration: Calibration, past: tuple[Phase, ...], task: str, bucket: str
) -> Floats:
    drafter, change = calibration.drafters[name], 0.0
    for step in past:
        if step.drafters and name in step.drafters:
            drafter = scenario.extra_drafters[step.drafters[name]]
        if step.h_change is not None and (step.h_change_tasks is None or task in step.h_change_tasks):
            change = step.h_change
    return survival_curve(drafter, task, calibration.k_max, calibration.temperature_factor.get(bucket, 1.0), change)


def _streaky(output: Ints, total: int, streak: float, rng: np.random.Generator) -> Floats:
    """Uniforms that repeat their predecessor's value with probability `streak`, afresh for every answer."""
    fresh = rng.random(total) >= streak
    fresh[np.concatenate([[0], np.cumsum(output)[:-1]])] = True
    source = np.maximum.accumulate(np.where(fresh, np.arange(total), 0))
    values: Floats = rng.random(total)[source]
    return values


def from_traces(path: str, like: Workload, drafter: str, seed: int) -> Workload:
    """The same arrivals with recorded answers in place of synthetic ones, drawn with replacement.

    Each line: {"task", "prompt_tokens", "accepted_if_verified_at": drafts that would be accepted at each token, null
    where the
    drafter proposes nothing}. ValueError names the line that does not fit.
    """
    traces = [
        _trace(line, number) for number, line in enumerate(Path(path).read_text().splitlines(), 1) if line.strip()
    ]
    if not traces:
        raise ValueError(f"{path}: no traces")
    tasks = tuple(dict.fromkeys(trace.task for trace in traces))
    rng = np.random.default_rng([seed, 3])
    chosen = [traces[i] for i in rng.integers(0, len(traces), len(like.task))]
    task = np.array([tasks.index(trace.task) for trace in chosen])
    output = np.array([len(trace.accepted_if_verified_at) + 1 for trace in chosen])
    starts = np.concatenate([[0], np.cumsum(output)[:-1]])
    landed = np.zeros(int(output.sum()), dtype=np.uint8)
    for start, trace in zip(starts.tolist(), chosen, strict=True):
        landed[start : start + len(trace.landed)] = trace.landed
    everyone = dict.fromkeys(like.landed, landed)
    everyone[drafter] = landed
    speed = like.output_tokens.mean() / output.mean()
    return replace(
        like,
        tasks=tasks,
        arrival_s=like.arrival_s / speed,
        task=task,
        label=task,
        phase=np.zeros_like(task),
        prompt_tokens=np.array([trace.prompt_tokens for trace in chosen]),
        output_tokens=output,
        starts=starts,
        landed=everyone,
        runs={},
    )


class _Trace(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    task: Annotated[str, Field(min_length=1)]
    prompt_tokens: Annotated[int, Field(ge=0)]
    accepted_if_verified_at: Annotated[list[Annotated[int, Field(ge=0, lt=NO_PROPOSAL)] | None], Field(min_length=1)]

    @property
    def landed(self) -> Bytes:
        return np.array([NO_PROPOSAL if j is None else j for j in self.accepted_if_verified_at], dtype=np.uint8)


def _trace(line: str, number: int) -> _Trace:
    where = f"line {number} of the traces"
    try:
        return validated(_Trace, orjson.loads(line), where)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
