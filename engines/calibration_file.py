"""From a sweep to the calibration file that `python -m bench.policy --calibration FILE` simulates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev

import yaml

from engines.calibration_sweep import Answer, Measured
from engines.contract import EngineMetrics
from engines.engine_client import MeasurementError
from policies.nnls import nonnegative

FEWEST_STEPS = 4


@dataclass(frozen=True, slots=True)
class Point:
    """Median step time of a batch at one k, over its answers."""

    batch: int
    k: int
    step_ms: float
    answers: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """Step-time coefficients in ms, and the mean relative error of the fit."""

    base_ms: float
    per_request_ms: float
    per_draft_ms: float
    speculating_ms: float
    per_k_ms: float
    error: float


def steps_of(metrics: EngineMetrics) -> int:
    """Verify steps after the prefill's token: those that drafted, or all that the tokens not accepted took."""
    if metrics.steps is None:
        return metrics.output_tokens - 1
    return max(len(metrics.steps.drafted), metrics.output_tokens - sum(metrics.steps.accepted) - 1)


def points(answers: Sequence[Answer]) -> list[Point]:
    """Median step time per (batch, k), over answers of at least four steps."""
    times: dict[tuple[int, int], list[float]] = {}
    for answer in answers:
        steps = steps_of(answer.metrics)
        if steps >= FEWEST_STEPS and answer.metrics.generation_ms > 0:
            times.setdefault((answer.batch, answer.k), []).append(answer.metrics.generation_ms / steps)
    return [Point(b, k, median(values), len(values)) for (b, k), values in sorted(times.items())]


def fit(measured: Sequence[Point]) -> Fitted:
    """Non-negative least squares of step time on [1, B, B·k, 1(k>0), k], errors relative. MeasurementError under 4
    points."""
    if len(measured) < 4:
        raise MeasurementError(f"{len(measured)} usable points: at least 4 are needed (longer answers, more batches)")
    rows = [[1.0, p.batch, p.batch * p.k, float(p.k > 0), p.k] for p in measured]
    scaled = [[x / p.step_ms for x in row] for row, p in zip(rows, measured, strict=True)]
    a = [[sum(row[i] * row[j] for row in scaled) * (1 + 1e-9 * (i == j)) for j in range(5)] for i in range(5)]
    for i in range(5):
        a[i][i] += 1e-15
    theta = nonnegative(a, [sum(row[i] for row in scaled) for i in range(5)])
    errors = [abs(sum(t * x for t, x in zip(theta, row, strict=True)) - 1) for row in scaled]
    return Fitted(theta[0], theta[1], theta[2], theta[3], theta[4], fmean(errors))


def survival(answers: Sequence[Answer], k_max: int) -> dict[str, list[float]]:
    """S(1) … S(k_max) per task over steps that drafted: conditional acceptance with short drafts censored."""
    curves: dict[str, list[float]] = {}
    for task in dict.fromkeys(answer.task for answer in answers):
        s, e = [0.0] * k_max, [0.0] * k_max
        for answer in answers:
            if answer.task == task and answer.metrics.steps is not None:
                _count(answer.metrics, s, e)
        if e and e[0] > 0:
            curve, alive = [], 1.0
            for success, exposure in zip(s, e, strict=True):
                alive *= success / exposure if exposure else 0.0
                curve.append(round(alive, 4))
            curves[task] = curve
    return curves


def _count(metrics: EngineMetrics, s: list[float], e: list[float]) -> None:
    assert metrics.steps is not None
    for drafted, accepted in zip(metrics.steps.drafted, metrics.steps.accepted, strict=True):
        for i in range(min(accepted, len(s))):
            s[i] += 1
        for i in range(min(accepted + 1, drafted, len(e))):
            e[i] += 1


def coverage(answers: Sequence[Answer]) -> float:
    """Share of verify steps in which the drafter proposed anything."""
    told = [answer.metrics for answer in answers if answer.metrics.steps is not None]
    steps = sum(steps_of(metrics) for metrics in told)
    return sum(len(m.steps.drafted) for m in told if m.steps is not None) / steps if steps else 1.0


def calibration(
    name: str, provenance: str, speculative: Measured, vanilla: Measured | None, drafter: str, method: str
) -> dict[str, object]:
    """The calibration of a speculative engine's sweep and, if there is one, a vanilla engine's.

    Without a vanilla engine its step time is taken to be that of k = 0 in the speculative one.
    """
    k_max = max(answer.k for answer in speculative.timed)
    curves = survival(speculative.natural, k_max)
    if not curves:
        raise MeasurementError("no answer reported verify steps: is this a speculative engine with detailed metrics?")
    own = points(speculative.timed)
    plain = points(vanilla.timed) if vanilla is not None else [p for p in own if p.k == 0]
    found = fit([*plain, *(p for p in own if p.k > 0)])
    step = {name: round(getattr(found, name), 5) for name in found.__dataclass_fields__ if name != "error"}
    noise = round(min(0.5, max(0.01, found.error)), 4)
    q = round(max(coverage(speculative.natural), 1e-3), 4)
    return {
        "name": name,
        "provenance": f"{provenance} Mean error of the step-time fit: {found.error:.1%}.",
        "step": step | {"idle_drafter_share": round(_idle_share(own, plain), 4), "noise": noise},
        "max_running": max(answer.batch for answer in speculative.timed),
        "k_max": k_max,
        "output_tokens": _spread([a.metrics.output_tokens for a in speculative.natural]),
        "prompt_tokens": _spread([a.metrics.prompt_tokens for a in speculative.natural]),
        "drafters": {drafter: {"method": method, "coverage": q, "tasks": curves}},
    }


def _idle_share(own: Sequence[Point], plain: Sequence[Point]) -> float:
    """How much longer a step takes without drafts in the speculative engine than in the vanilla one."""
    idle = {p.batch: p.step_ms for p in own if p.k == 0}
    ratios = [idle[p.batch] / p.step_ms for p in plain if p.batch in idle]
    return max(0.0, min(1.0, fmean(ratios) - 1)) if ratios else 0.0


def _spread(counts: Sequence[int]) -> dict[str, float]:
    """Mean, and deviation of the logarithm, of numbers of tokens."""
    logs = [math.log(max(1, count)) for count in counts]
    spread = stdev(logs) if len(logs) > 1 else 0.0
    return {"mean": round(max(1.0, fmean(counts)), 1), "spread": round(spread, 2), "smallest": max(1, min(counts))}


def write(found: dict[str, object], path: Path) -> None:
    """Write the file."""
    path.write_text(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), encoding="utf-8")
