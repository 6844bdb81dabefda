"""Whether to speculate for a task: all k are judged together, for the least of several noisy ratios flatters itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf
from typing import Literal

import numpy as np

from engines.evaluation_intervals import CONFIDENCE, Interval, Matrix, over, student

Verdict = Literal["on", "off", "no difference shown"]


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether to speculate for a task, with which k, and what that takes of k = 0's time per token.

    The interval of `ratio` holds for all k at once; without an end where one prompt alone was asked.
    """

    speculate: Verdict
    k: int
    ratio: Interval | None


@dataclass(frozen=True, slots=True)
class Times:
    """What each prompt took at one k and at k = 0: tokens after the first and ms, zeros where it was not asked."""

    tokens: Matrix
    ms: Matrix
    plain_tokens: Matrix
    plain_ms: Matrix

    @property
    def ratio(self) -> float:
        """Time per token over that at k = 0; nan where nothing was asked."""
        plain = over(self.plain_ms.sum(), self.plain_tokens.sum())
        return float(over(over(self.ms.sum(), self.tokens.sum()), plain))

    @property
    def prompts(self) -> int:
        """How many were asked."""
        return int((self.ms > 0).sum())

    def influences(self) -> Matrix:
        """What each prompt adds to the error of the ratio's logarithm; their squares sum to its variance."""
        shares = [column / column.sum() for column in (self.ms, self.tokens, self.plain_ms, self.plain_tokens)]
        spread = shares[0] - shares[1] - shares[2] + shares[3]
        return np.asarray(spread * np.sqrt(self.prompts / max(1, self.prompts - 1)))


def advise(times: Mapping[int, Times]) -> Advice:
    """On with the fastest k of those surely faster than k = 0, off where all are surely slower.

    "Surely": by a band around all ratios that holds 95 % of the time for all of them together.
    """
    band = _band({k: one for k, one in times.items() if k > 0 and np.isfinite(one.ratio) and one.ratio > 0})
    if not band:
        return Advice("no difference shown", 0, None)
    faster = [k for k, found in band.items() if found.high < 1]
    best = min(faster or band, key=lambda k: band[k].value)
    if faster:
        return Advice("on", best, band[best])
    slower = all(found.low > 1 for found in band.values())
    return Advice("off" if slower else "no difference shown", 0, band[best])


def _band(times: Mapping[int, Times]) -> dict[int, Interval]:
    """The ratio of each k, its interval as wide as all k together need: each may miss in its part of 5 % (Bonferroni).

    A bootstrap of the largest error, which knows that all k share one k = 0, is hardly narrower and misses 4.3 % of
    the time, not 2.5, on the side that says "on" (8 prompts, 7 k).
    """
    return {k: _interval(one, (1 - CONFIDENCE) / len(times)) for k, one in times.items()}


def _interval(times: Times, outside: float) -> Interval:
    """The ratio and as many standard errors of its logarithm to both sides as leave `outside` of Student's t."""
    if times.prompts < 2:
        return Interval(round(times.ratio, 4), 0.0, inf)
    far = student(times.prompts - 1, outside) * float(np.sqrt((times.influences() ** 2).sum()))
    return Interval(*(round(times.ratio * exp(by), 4) for by in (0.0, -far, far)))
