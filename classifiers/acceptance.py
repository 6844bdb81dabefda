"""Acceptance beyond the label: a request's own first-position acceptance, learnt online from outcomes.

Ridge regression of the deviation from the task's mean on a few features of the prompt. What was learnt is a sum over
requests, so replicas add theirs up in any order, old evidence fades by scaling, and memory does not grow.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from classifiers.lexicon import lexicon
from classifiers.prompt import Prompt
from classifiers.structure import NAMES, structure
from classifiers.words import lists_of

DIMENSIONS = 24
LEAST, MOST = 0.02, 0.98
_SIZE = DIMENSIONS * (DIMENSIONS + 1) // 2 + DIMENSIONS + 1
_UPPER = np.triu_indices(DIMENSIONS)

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Evidence of any number of requests: sums of x·xᵀ (`moments`), of x·deviation (`pulls`) and of drafts."""

    moments: Vector
    pulls: Vector
    weight: float

    def plus(self, other: "Sums") -> "Sums":
        """Both evidences together; the order does not matter."""
        return Sums(self.moments + other.moments, self.pulls + other.pulls, self.weight + other.weight)

    def scaled(self, share: float) -> "Sums":
        """The evidence faded to that share (0–1)."""
        return Sums(self.moments * share, self.pulls * share, self.weight * share)

    def numbers(self) -> list[float]:
        """The evidence as one flat list, to be added to another's element by element (in Redis, say)."""
        return [*self.moments[_UPPER].tolist(), *self.pulls.tolist(), self.weight]


def no_evidence() -> Sums:
    """The sums of no request."""
    return Sums(np.zeros((DIMENSIONS, DIMENSIONS)), np.zeros(DIMENSIONS), 0.0)


def sums_of(numbers: Sequence[float]) -> Sums:
    """The evidence in a flat list; raises ValueError where its length is not that of `Sums.numbers`."""
    if len(numbers) != _SIZE:
        raise ValueError(f"evidence of acceptance has {len(numbers)} numbers, allowed are {_SIZE}")
    moments = np.zeros((DIMENSIONS, DIMENSIONS))
    moments[_UPPER] = numbers[: len(_UPPER[0])]
    moments = moments + np.triu(moments, 1).T
    return Sums(moments, np.array(numbers[len(_UPPER[0]) : -1]), float(numbers[-1]))


def features_of(prompt: Prompt) -> Vector:
    """What the head sees of a prompt: its shape and word lists, folded to `DIMENSIONS` values of about unit size."""
    touched = lists_of(prompt)
    raw = np.array([*structure(prompt), *(float(name in touched) for name in lexicon())])
    return np.asarray(raw @ _projection(), dtype=np.float64)


@cache
def _projection() -> Vector:
    """A fixed random projection, the same in every process: its signs are the bits of a hash of the feature's name."""
    names = [*NAMES, *(f"list:{name}" for name in lexicon())]
    bits = np.array([np.unpackbits(np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8)) for name in names])
    signs: Vector = 2.0 * bits[:, :DIMENSIONS] - 1.0
    return np.asarray(signs / len(names) ** 0.5)


class AcceptanceHead:
    """Predicts first-position acceptance from a prompt's features around the mean of its task.

    `observe` and `drain` are the learning side, `take` the other replicas' part, `predict` the reading side.
    `ridge` is how many drafts of evidence the prior (no deviation) is worth.
    """

    def __init__(self, ridge: float = 50.0) -> None:
        """Know nothing: predictions are the task's mean."""
        if ridge <= 0:
            raise ValueError(f"ridge is {ridge!r}, allowed is more than 0")
        self._ridge = ridge
        self._slopes: Vector = np.zeros(DIMENSIONS)
        self._pending = no_evidence()

    def predict(self, features: Vector, task_mean: float) -> float:
        """The expected acceptance of the first draft, `LEAST` to `MOST`; without evidence the task's mean."""
        return min(MOST, max(LEAST, task_mean + float(features @ self._slopes)))

    def observe(self, features: Vector, task_mean: float, accepted: int, drafted: int) -> None:
        """Add one request whose first draft was accepted in `accepted` of `drafted` verify steps."""
        if not 0 <= accepted <= drafted:
            raise ValueError(f"accepted is {accepted!r}, allowed is 0 to drafted ({drafted!r})")
        deviation = accepted - drafted * task_mean
        moments: Vector = drafted * np.outer(features, features).astype(np.float64)
        self._pending = self._pending.plus(Sums(moments, deviation * features, float(drafted)))

    def drain(self) -> Sums:
        """What was observed since the last drain, to be added to the shared sums."""
        pending, self._pending = self._pending, no_evidence()
        return pending

    def take(self, shared: Sums) -> None:
        """Predict from now on with the shared sums of all replicas; one solution of a small linear system."""
        prior = self._ridge * np.eye(DIMENSIONS)
        self._slopes = np.linalg.solve(shared.moments + prior, shared.pulls).astype(np.float64)
