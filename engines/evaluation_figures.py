"""From the answers of an evaluation to figures with intervals, advice per task, and what changed between two of them.

Intervals are bootstrapped over prompts: answers to one prompt are alike, and count as one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from engines.calibration_file import steps_of
from engines.contract import EngineMetrics

RESAMPLES = 500
QUANTILES = (2.5, 97.5)
MARGIN = 0.02
"""A change of time per token, or of α, smaller than this is of no use to anyone."""

Matrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval; None where there is nothing to compute it from."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one answer adds to the sums: times in ms, `s` and `e` successes and exposures per position."""

    engine: str
    task: str
    prompt: int
    k: int
    round: int
    output_tokens: int
    generation_ms: float
    ttft_ms: float
    steps: int
    drafting: int
    s: tuple[int, ...] = ()
    e: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """One task at one k on one engine. `ratio` is its time per token over that at k = 0 of the same prompts.

    `alpha` is accepted over accepted and rejected, `length` tokens per verify step, `coverage` the share of steps with
    drafts, `survival[i]` P(the first i + 1 drafts are all accepted) in such steps.
    """

    k: int
    answers: int
    tpot_ms: Interval | None
    ratio: Interval | None
    alpha: Interval | None
    length: Interval | None
    coverage: float | None
    survival: tuple[Interval, ...] = ()


Verdict = Literal["on", "off", "no difference shown"]


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether to speculate for a task, with which k, and what that takes of k = 0's time per token."""

    speculate: Verdict
    k: int
    ratio: Interval | None


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """A task on one engine, by k."""

    by_k: Mapping[int, Figures]
    advice: Advice


@dataclass(frozen=True, slots=True)
class Change:
    """A task now against before (or one drafter against another) at one k: differences and ratios, now first."""

    k: int
    prompts: int
    alpha: Interval | None
    length_ratio: Interval | None
    tpot_ratio: Interval | None
    verdict: str = field(default="")


def row(engine: str, task: str, prompt: int, k: int, turn: int, metrics: EngineMetrics) -> Row:
    """The sums of one answer; a step that drafted k and accepted j exposes positions 1 … min(j + 1, k)."""
    drafted, accepted = (metrics.steps.drafted, metrics.steps.accepted) if metrics.steps else ((), ())
    s, e = [0] * k, [0] * k
    for asked, taken in zip(drafted, accepted, strict=True):
        for i in range(min(taken, k)):
            s[i] += 1
        for i in range(min(taken + 1, asked, k)):
            e[i] += 1
    steps = max(0, steps_of(metrics))
    times = (round(metrics.generation_ms, 3), round(metrics.time_to_first_token_ms, 3))
    return Row(engine, task, prompt, k, turn, metrics.output_tokens, *times, steps, len(drafted), tuple(s), tuple(e))


def task_figures(rows: Sequence[Row], engine: str, task: str, baseline: str) -> TaskFigures:
    """The figures of a task on an engine; time ratios are to k = 0 on the engine `baseline`, prompt by prompt."""
    own = [one for one in rows if one.task == task]
    plain = [one for one in own if one.engine == baseline and one.k == 0]
    mine = [one for one in own if one.engine == engine]
    by_k = {k: _figures(k, [one for one in mine if one.k == k], plain) for k in sorted({one.k for one in mine})}
    return TaskFigures(by_k, advise(by_k))


def advise(by_k: Mapping[int, Figures]) -> Advice:
    """The k with the least time per token: on where its whole interval is below k = 0's, off where no k comes near."""
    ratios = {k: figures.ratio for k, figures in by_k.items() if k > 0 and figures.ratio is not None}
    if not ratios:
        return Advice("no difference shown", 0, None)
    k = min(ratios, key=lambda k: ratios[k].value)
    best = ratios[k]
    if best.high < 1:
        return Advice("on", k, best)
    return Advice("off" if best.low > 1 else "no difference shown", 0, best)


def change(now: Sequence[Row], before: Sequence[Row], task: str) -> Change | None:
    """What changed for a task, over the prompts and the largest k that both have; None without any in common."""
    mine, theirs = ([one for one in rows if one.task == task and one.k > 0] for rows in (now, before))
    ks = {one.k for one in mine} & {one.k for one in theirs}
    if not ks:
        return None
    k = max(ks)
    new, old = ([one for one in rows if one.k == k] for rows in (mine, theirs))
    prompts = sorted({one.prompt for one in new} & {one.prompt for one in old})
    if not prompts:
        return None
    a, b = _sums(new, prompts, k), _sums(old, prompts, k)
    alpha = _interval(lambda x: _alpha(x[0]) - _alpha(x[1]), a, b)
    length = _interval(lambda x: _length(x[0]) / _length(x[1]), a, b)
    tpot = _interval(lambda x: _tpot(x[0]) / _tpot(x[1]), a, b)
    return Change(k, len(prompts), alpha, length, tpot, _changed(alpha))


def _changed(alpha: Interval | None) -> str:
    if alpha is None:
        return "nothing drafted"
    if alpha.high < 0 and alpha.value < -MARGIN:
        return "fell"
    if alpha.low > 0 and alpha.value > MARGIN:
        return "rose"
    return "no difference shown"


TOKENS, TIME, STEPS, DRAFTING, FIRST = 0, 1, 2, 3, 4
"""Columns of a matrix of sums, a line per prompt: then k successes, then k exposures."""


def _sums(rows: Sequence[Row], prompts: Sequence[int], k: int) -> Matrix:
    place = {prompt: i for i, prompt in enumerate(prompts)}
    sums = np.zeros((len(prompts), FIRST + 2 * k))
    for one in rows:
        if one.prompt in place:
            after_first = max(0, one.output_tokens - 1)
            sums[place[one.prompt]] += (after_first, one.generation_ms, one.steps, one.drafting, *one.s, *one.e)
    return sums


def _figures(k: int, rows: Sequence[Row], plain: Sequence[Row]) -> Figures:
    prompts = sorted({one.prompt for one in rows})
    mine = _sums(rows, prompts, k)
    both = sorted({one.prompt for one in plain} & set(prompts))
    own, base = _sums(rows, both, k), _sums(plain, both, 0)
    drafts = k > 0
    total = mine.sum(0)
    return Figures(
        k=k,
        answers=len(rows),
        tpot_ms=_interval(lambda x: _tpot(x[0]), mine),
        ratio=_interval(lambda x: _tpot(x[0]) / _tpot(x[1]), own, base),
        alpha=_interval(lambda x: _alpha(x[0]), mine) if drafts else None,
        length=_interval(lambda x: _length(x[0]), mine) if drafts else None,
        coverage=float(total[DRAFTING] / total[STEPS]) if drafts and total[STEPS] else None,
        survival=_survival(mine, k) if drafts else (),
    )


def _survival(sums: Matrix, k: int) -> tuple[Interval, ...]:
    found = [_interval(partial(_first_alive, i=i + 1), sums) for i in range(k)]
    return tuple(interval for interval in found if interval is not None)


def _first_alive(totals: list[Matrix], i: int) -> float:
    return _alive(totals[0], i)


def _tpot(total: Matrix) -> float:
    return float(total[TIME] / total[TOKENS]) if total[TOKENS] else np.nan


def _length(total: Matrix) -> float:
    return float(total[TOKENS] / total[STEPS]) if total[STEPS] else np.nan


def _alpha(total: Matrix) -> float:
    """Every exposure is an acceptance or the rejection that ended its step."""
    k = (len(total) - FIRST) // 2
    exposed = total[FIRST + k :].sum()
    return float(total[FIRST : FIRST + k].sum() / exposed) if exposed else np.nan


def _alive(total: Matrix, i: int) -> float:
    k = (len(total) - FIRST) // 2
    s, e = total[FIRST : FIRST + i], total[FIRST + k : FIRST + k + i]
    return float(np.prod(np.where(e > 0, s / np.maximum(e, 1), 0.0))) if e[0] else np.nan


def _interval(statistic: Callable[[list[Matrix]], float], *sums: Matrix) -> Interval | None:
    """The statistic of the columns' sums, and its spread over prompts drawn again; the matrices share their prompts."""
    if not len(sums[0]):
        return None
    with np.errstate(all="ignore"):
        value = statistic([one.sum(0) for one in sums])
        rng = np.random.default_rng(0)
        drawn = rng.integers(len(sums[0]), size=(RESAMPLES, len(sums[0])))
        again = [statistic([one[lines].sum(0) for one in sums]) for lines in drawn]
    if not np.isfinite(value):
        return None
    low, high = np.nanpercentile(again, QUANTILES)
    return Interval(round(value, 4), round(float(low), 4), round(float(high), 4))
