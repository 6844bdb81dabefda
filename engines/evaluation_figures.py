"""From the answers of an evaluation to figures, advice per task, and what changed between two of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from engines.calibration_file import steps_of
from engines.contract import EngineMetrics
from engines.evaluation_advice import Advice, Times, advise
from engines.evaluation_intervals import Interval, Matrix, interval, over

MARGIN = 0.02
"""A change of time per token, or of α, smaller than this is of no use to anyone."""


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
    rows_of = {k: [one for one in mine if one.k == k] for k in sorted({one.k for one in mine})}
    prompts = sorted({one.prompt for one in own})
    times = {k: _times(k, found, plain, prompts) for k, found in rows_of.items()}
    return TaskFigures({k: _figures(k, found, plain) for k, found in rows_of.items()}, advise(times))


def _times(k: int, rows: Sequence[Row], plain: Sequence[Row], prompts: Sequence[int]) -> Times:
    """The times of a k beside k = 0's of the same prompts."""
    both = {one.prompt for one in rows} & {one.prompt for one in plain}
    own = _sums([one for one in rows if one.prompt in both], prompts, k)
    base = _sums([one for one in plain if one.prompt in both], prompts, 0)
    return Times(own[:, TOKENS], own[:, TIME], base[:, TOKENS], base[:, TIME])


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
    alpha = interval(lambda x: _alpha(x[0]) - _alpha(x[1]), a, b)
    length = interval(lambda x: over(_length(x[0]), _length(x[1])), a, b)
    tpot = interval(lambda x: over(_tpot(x[0]), _tpot(x[1])), a, b)
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
        tpot_ms=interval(lambda x: _tpot(x[0]), mine),
        ratio=interval(lambda x: over(_tpot(x[0]), _tpot(x[1])), own, base),
        alpha=interval(lambda x: _alpha(x[0]), mine) if drafts else None,
        length=interval(lambda x: _length(x[0]), mine) if drafts else None,
        coverage=float(total[DRAFTING] / total[STEPS]) if drafts and total[STEPS] else None,
        survival=_survival(mine, k) if drafts else (),
    )


def _survival(sums: Matrix, k: int) -> tuple[Interval, ...]:
    found = [interval(partial(_first_alive, i=i + 1), sums) for i in range(k)]
    return tuple(one for one in found if one is not None)


def _first_alive(totals: list[Matrix], i: int) -> Matrix:
    return _alive(totals[0], i)


def _tpot(total: Matrix) -> Matrix:
    return over(total[TIME], total[TOKENS])


def _length(total: Matrix) -> Matrix:
    return over(total[TOKENS], total[STEPS])


def _alpha(total: Matrix) -> Matrix:
    """Every exposure is an acceptance or the rejection that ended its step."""
    k = (len(total) - FIRST) // 2
    return over(total[FIRST : FIRST + k].sum(0), total[FIRST + k :].sum(0))


def _alive(total: Matrix, i: int) -> Matrix:
    k = (len(total) - FIRST) // 2
    s, e = total[FIRST : FIRST + i], total[FIRST + k : FIRST + k + i]
    return np.where(e[0] > 0, np.where(e > 0, s / np.maximum(e, 1), 0.0).prod(0), np.nan)
