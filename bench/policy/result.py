"""What one run leaves behind."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.event import Event


@dataclass(slots=True)
class Result:
    """Arrays over requests: seconds per token from arrival and from first token, k, vanilla or not, and what was
    decided.

    `believed` is the first drafter's S(1) as believed when deciding (only in scenarios that change). `busy_s` are the
    seconds in which replicas had a request, summed over them.
    """

    seconds_per_token: NDArray[np.float64]
    tpot_s: NDArray[np.float64]
    ttft_s: NDArray[np.float64]
    k: NDArray[np.int64]
    speculative: NDArray[np.bool_]
    explored: NDArray[np.bool_]
    best_k: NDArray[np.int64]
    decision_s: NDArray[np.float64]
    ended_s: NDArray[np.float64]
    believed: NDArray[np.float64]
    events: list[Event]
    deltas: int
    ignored: dict[str, int]
    wall_s: float
    excess: float
    busy_s: float


def empty(n: int) -> Result:
    """A result of `n` requests before they ran."""
    return Result(
        np.zeros(n),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.bool_),
        np.zeros(n, dtype=np.bool_),
        np.zeros(n, dtype=np.int64),
        np.zeros(n),
        np.zeros(n),
        np.full(n, np.nan),
        [],
        0,
        {},
        0.0,
        0.0,
        0.0,
    )
