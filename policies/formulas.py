"""Closed formulas of speculative decoding; k drafts per verify step, h conditional acceptance, c = draft cost /
target step cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul


def survival(h: Sequence[float]) -> tuple[float, ...]:
    """S(i) = h_1 · … · h_i for i = 1 … len(h): the chance that the first i drafts are all accepted."""
    return tuple(accumulate(h, mul))


def expected_tokens(curve: Sequence[float], k: int, coverage: float = 1.0) -> float:
    """E(k) = 1 + q · Σ_{i≤k} S(i), tokens per verify step; `coverage` q is the share of steps with any proposal."""
    return 1.0 + coverage * math.fsum(curve[:k])


def leviathan_tokens(alpha: float, k: int) -> float:
    """E(k) = (1 − α^(k+1)) / (1 − α) for constant per-token acceptance α (Leviathan et al. 2023, eq. 1)."""
    return float(k + 1) if alpha >= 1 else (1 - alpha ** (k + 1)) / (1 - alpha)


def leviathan(alpha: float, k: int, c: float) -> float:
    """Speed-up E(k) / (1 + k·c) over vanilla decoding (Leviathan et al. 2023, theorem 3.8)."""
    return leviathan_tokens(alpha, k) / (1 + k * c)


def article_speedup(alpha: float, k: int) -> float:
    """(k + 1 − α) / (k(1 − α) + 1): the popular estimate, for reports only.

    It is 1 at k = 1 for every α, rises with k for ever and knows neither cost nor load: it can never predict a
    slowdown.
    """
    return (k + 1 - alpha) / (k * (1 - alpha) + 1)


@dataclass(frozen=True, slots=True)
class BestK:
    """The k with the largest speed-up, and that speed-up (k = 0 and 1.0 where none pays)."""

    k: int
    speedup: float


def best_k(curve: Sequence[float], c: float, coverage: float = 1.0) -> BestK:
    """The best k for a survival curve at draft cost c, the smallest of equals."""
    found, tokens = BestK(0, 1.0), 1.0
    for k, s in enumerate(curve, start=1):
        tokens += coverage * s
        if tokens / (1 + k * c) > found.speedup:
            found = BestK(k, tokens / (1 + k * c))
    return found


def alpha_of(accepted: int, rejected_steps: int) -> float:
    """Per-token acceptance α = accepted / (accepted + steps that ended in a rejection); nan without evidence.

    Not vLLM's `draft_acceptance_rate` (accepted / proposed), which falls as k grows.
    """
    tried = accepted + rejected_steps
    return accepted / tried if tried else math.nan


def acceptance_rate(alpha: float, k: int) -> float:
    """r(k) = accepted / proposed at constant α: what vLLM reports as `draft_acceptance_rate`."""
    return (leviathan_tokens(alpha, k) - 1) / k


def response_time_s(tokens: int, ttft_s: float, tpot_s: float, speedup: float = 1.0) -> float:
    """Seconds from request to last token: TTFT + (tokens − 1) · TPOT / speed-up."""
    return ttft_s + max(0, tokens - 1) * tpot_s / speedup


def logit(p: float) -> float:
    """log(p / (1 − p)), p clipped to [1e-4, 1 − 1e-4]."""
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


def expit(x: float) -> float:
    """The inverse of `logit`."""
    return 1 / (1 + math.exp(-x))
