"""What an engine's answers say: texts that differ from vanilla's, and a distribution that cannot be the target's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import chisquare, poisson

LEAST_EXPECTED = 5.0
"""Rows expected less often are counted together: chi-square wants this many in a cell."""
LEAST_CELLS = 8
"""Fewer cells tell a changed temperature from a right one only by luck."""
LEAST_P = 1e-4
"""A right engine fails with this chance; nine methods, so about one run in a thousand."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Chi-square of sampled rows against their exact chances; `strays` are rows that have none of their own.

    `strays_p` is the chance of so many of them: chi-square alone would lose a few impossible rows in a large cell.
    """

    samples: int
    cells: int
    statistic: float
    p: float
    strays: int
    strays_p: float

    @property
    def unchanged(self) -> bool:
        """Whether the samples can have come from those chances."""
        return min(self.p, self.strays_p) >= LEAST_P


def differing(vanilla: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> list[int]:
    """Which answers are not token for token vanilla's."""
    return [i for i, (mine, theirs) in enumerate(zip(vanilla, other, strict=True)) if list(mine) != list(theirs)]


def least_samples(chances: Mapping[tuple[int, ...], float]) -> int:
    """Of how many samples the likeliest `LEAST_CELLS` rows can each be expected often enough to be compared."""
    return math.ceil(LEAST_EXPECTED / sorted(chances.values())[-LEAST_CELLS])


def distribution(seen: Mapping[tuple[int, ...], int], chances: Mapping[tuple[int, ...], float]) -> Distribution:
    """Rows without a chance of their own, and rare ones, share the last cell.

    ValueError for fewer than `least_samples`: a chi-square of one cell has no p, and one of few finds nothing.
    """
    samples = sum(seen.values())
    if samples < (least := least_samples(chances)):
        raise ValueError(f"{samples} samples are too few to compare: at least {least} are needed")
    cells = [row for row, chance in chances.items() if chance * samples >= LEAST_EXPECTED]
    observed = [float(seen.get(row, 0)) for row in cells]
    expected = [chances[row] * samples for row in cells]
    observed.append(samples - sum(observed))
    expected.append(samples - sum(expected))
    if expected[-1] < LEAST_EXPECTED:  # too little is left for a cell of its own
        observed[-2:] = [sum(observed[-2:])]
        expected[-2:] = [sum(expected[-2:])]
    statistic, p = chisquare(observed, expected)
    strays = samples - sum(seen.get(row, 0) for row in chances)
    strays_p = float(poisson.sf(strays - 1, max(0.0, 1 - sum(chances.values())) * samples))
    return Distribution(samples, len(observed), float(statistic), float(p), strays, strays_p)
