"""Whether sampled tokens can have come from the probabilities an engine reports with them: exact chances, no reference.

At every position, whatever came before, the engine's log-probabilities give the chance that its sampler draws one of
the j likeliest tokens. Outcome minus chance is then a martingale difference for any model and any text, so the sums
can be tested without a second model, a known language or independent positions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.vllm_completion import Position

RANKS = (1, 5, 20)
RANKS_CUT = (1, 2, 3)
TIE_NATS = 0.01

FALSE_ALARM = 5e-6
"""Chance that one rank's sum fails a right engine, at most: three ranks, some three groups of requests, under 1e-4."""

CHI_SQUARE = {1: 23.93, 2: 27.63, 3: 30.66}
"""By degrees of freedom, the chi-square value exceeded with probability 1e-6."""

NORMAL_VARIANCE = 8.0
"""Sums of smaller variance are too far from normal for the chi-square test and left to the bound."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    The reported log-probabilities, of the model before temperature, give the chances exactly in two cases: at
    temperature 1, and at any temperature with a top-k no larger than the number of tokens reported.
    """

    temperature: float
    top_k: int = 0

    def __str__(self) -> str:
        return f"temperature {self.temperature:g}" + (f" and top-k {self.top_k}" if self.top_k else "")


def distribution_problem(sampling: Sampling, positions: Sequence[Position]) -> str | None:
    """Why `positions` cannot have been drawn by `sampling` from their own probabilities; None if they can."""
    if sampling.top_k and (stray := sum(_is_outside(p, sampling.top_k) for p in positions)):
        return (
            f"sampling at {sampling}: {stray} of {len(positions)} tokens are not among the {sampling.top_k} likeliest"
        )
    ranks = RANKS_CUT if sampling.top_k else RANKS
    # (positions, ranks)
    chances = np.array([[_chance(p, j, sampling) for j in ranks] for p in positions])
    hits = np.array([[p.token in {token for token, _ in p.likeliest[:j]} for j in ranks] for p in positions])
    excess = hits.sum(axis=0) - chances.sum(axis=0)
    variances = (chances * (1 - chances)).sum(axis=0)
    for j, surplus, variance in zip(ranks, excess, variances, strict=True):
        if abs(surplus) > freedman_bound(float(variance)):
            return _described(sampling, positions, j, float(surplus))
    if _chi_square_fails(excess, chances, variances):
        worst = int(np.argmax(np.abs(excess) / np.sqrt(np.maximum(variances, 1e-9))))
        return _described(sampling, positions, ranks[worst], float(excess[worst]))
    return None


def freedman_bound(variance: float, false_alarm: float = FALSE_ALARM) -> float:
    """What a sum of martingale differences of at most 1 exceeds, either way, with less chance than `false_alarm`.

    `variance` is the sum of the conditional variances. Inverts P(S ≥ s) ≤ exp(−s² / (2V + 2s/3)) (Freedman, On tail
    probabilities for martingales, Annals of Probability 3, 1975), which holds for sums of any size.
    """
    exponent = math.log(2 / false_alarm)
    return exponent / 3 + math.sqrt(exponent**2 / 9 + 2 * variance * exponent)


def _chi_square_fails(
    excess: np.ndarray[tuple[int], np.dtype[np.float64]],
    chances: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    variances: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> bool:
    """All ranks together, by the martingale central limit theorem: a fault may put too many tokens both at the top
    and far down, which no single rank shows as clearly.

    The sets are nested, so Cov(I_i, I_j) = P_i (1 − P_j) for i ≤ j.
    """
    used = np.flatnonzero(variances >= NORMAL_VARIANCE)
    if not used.size:
        return False
    kept = chances[:, used]
    upper = np.triu(kept.T @ (1 - kept))
    covariance = upper + np.triu(upper, 1).T
    statistic = float(excess[used] @ np.linalg.pinv(covariance) @ excess[used])
    return statistic > CHI_SQUARE[used.size]


def _chance(position: Position, j: int, sampling: Sampling) -> float:
    """Probability that `sampling` draws one of the `j` likeliest tokens here."""
    if not sampling.top_k:
        return min(1.0, math.fsum(math.exp(logprob) for _, logprob in position.likeliest[:j]))
    weights = [math.exp(logprob / sampling.temperature) for _, logprob in position.likeliest[: sampling.top_k]]
    return min(1.0, math.fsum(weights[:j]) / math.fsum(weights))


def _is_outside(position: Position, top_k: int) -> bool:
    """Whether the token is none of the `top_k` likeliest nor tied with the last of them."""
    return position.logprob < position.likeliest[:top_k][-1][1] - TIE_NATS


def _described(sampling: Sampling, positions: Sequence[Position], j: int, surplus: float) -> str:
    hits = sum(p.token in {token for token, _ in p.likeliest[:j]} for p in positions)
    return (
        f"sampling at {sampling}: {hits} of {len(positions)} tokens are among the {j} likeliest, "
        f"{hits - surplus:.1f} were expected"
    )
