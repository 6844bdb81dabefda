"""95 % intervals of figures over prompts: answers to one prompt are alike, and count as one."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

RESAMPLES = 2000
CONFIDENCE = 0.95

Matrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval; None where there is nothing to compute it from."""

    value: float
    low: float
    high: float


def interval(statistic: Callable[[list[Matrix]], Matrix], *sums: Matrix) -> Interval | None:
    """The statistic of the columns' sums, and its spread over prompts drawn again; the matrices share their prompts.

    `statistic` takes each matrix's sums, a line per column and a column per draw, and gives a figure per draw.
    """
    prompts = len(sums[0])
    if not prompts:
        return None
    value = float(statistic([one.sum(0)[:, None] for one in sums])[0])
    if not np.isfinite(value):
        return None
    drawn = np.random.default_rng(0).multinomial(prompts, [1 / prompts] * prompts, size=RESAMPLES).astype(float)
    again = statistic([(drawn @ one).T for one in sums])
    low, high = np.nanpercentile(again, _percentiles(prompts))
    return Interval(round(value, 4), round(float(low), 4), round(float(high), 4))


def over(numerator: Matrix, denominator: Matrix) -> Matrix:
    """Their quotient, nan where the denominator is no positive number."""
    found: Matrix = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=found, where=denominator > 0)
    return found


def student(degrees: int, outside: float = 1 - CONFIDENCE) -> float:
    """Student's t that all but this share of draws stay within, counted on both sides."""
    return float(stdtrit(degrees, 1 - outside / 2))


def _percentiles(prompts: int) -> tuple[float, float]:
    """Which percentiles of the draws cover 95 %: wider ones for few prompts, as Student's t and n / (n - 1) ask.

    Hesterberg, "What Teachers Should Know About the Bootstrap" (2015): the expanded percentile interval.
    """
    if prompts < 2:
        return 0.0, 100.0
    outside = 100 * NormalDist().cdf(-sqrt(prompts / (prompts - 1)) * student(prompts - 1))
    return outside, 100 - outside
