"""The trained classifier: sums of weights over the features a prompt has, in NumPy alone.

The weights are learnt with scikit-learn (classifiers.training); its per-call checks would be a third of the cost here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from classifiers.label import Label, Likely, Source
from classifiers.prompt import Prompt
from classifiers.structure import structure
from classifiers.table import Table
from classifiers.words import blocks
from policies.task import OTHER

API_CALL = "api_call_generation"
LIKELY = 3
LEAST_LIKELY = 0.02
"""A label names at most so many tasks, and after the first only those of at least this probability: most have one."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weights:
    """What training learnt, with one column per task.

    `vocabulary` gives the row in `words` of each feature of each block; `shape` has one row per name in
    `classifiers.structure.NAMES`; `bias` one value per task; probabilities are softmax(score / temperature).
    `tools_bonus` is added to the score of api_call_generation where the request offers tools.
    """

    tasks: tuple[str, ...]
    vocabulary: dict[str, dict[str, int]]
    words: Floats
    shape: Floats
    bias: Floats
    temperature: float = 1.0
    tools_bonus: float = 0.0


class Model:
    """Classifies with trained weights; a prompt below `min_confidence` is labelled `other`."""

    def __init__(self, weights: Weights, min_confidence: float = 0.0) -> None:
        """Use the weights; `min_confidence` is a probability, 0–1."""
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence is {min_confidence!r}, allowed is 0 to 1")
        self._weights = weights
        self._table = Table(weights.vocabulary)
        self._min_confidence = min_confidence
        self._api_call = weights.tasks.index(API_CALL) if API_CALL in weights.tasks else None

    @property
    def weights(self) -> Weights:
        """What it was given."""
        return self._weights

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it was trained on, and `other`."""
        return self._weights.tasks if OTHER in self._weights.tasks else (*self._weights.tasks, OTHER)

    def classify(self, prompt: Prompt) -> Label:
        """The most probable task, or `other` where no task reaches the least confidence."""
        if not prompt.text.strip() and not prompt.has_tools:
            return Label(OTHER, 0.0, "fallback")
        likely = most_likely(self._weights.tasks, self.probabilities(prompt))
        task, confidence = likely[0]
        if confidence < self._min_confidence:
            return Label(OTHER, confidence, "fallback")
        source: Source = "tools" if prompt.has_tools and task == API_CALL else "model"
        return Label(task, confidence, source, likely)

    def probabilities(self, prompt: Prompt) -> list[float]:
        """The calibrated probability of each of the trained tasks, in the order of the weights' `tasks`."""
        scores = self._scores(prompt)
        most, heat = max(scores), self._weights.temperature
        odds = [exp((score - most) / heat) for score in scores]  # a dozen values: NumPy would take three times as long
        total = sum(odds)
        return [value / total for value in odds]

    def _scores(self, prompt: Prompt) -> list[float]:
        weights = self._weights
        ascii_only = prompt.text.isascii() and prompt.system.isascii() and prompt.history.isascii()
        rows, shares = self._table.find(blocks(prompt), ascii_only=ascii_only)
        scores = weights.bias + np.array(structure(prompt), dtype=np.float32) @ weights.shape
        scores += shares @ weights.words.take(rows, axis=0)
        found_scores: list[float] = scores.tolist()
        if prompt.has_tools and self._api_call is not None:
            found_scores[self._api_call] += weights.tools_bonus
        return found_scores


def most_likely(tasks: Sequence[str], probabilities: Sequence[float]) -> Likely:
    """The most probable tasks with their probabilities, the best first: `LIKELY` at most, none of too little."""
    ranked = sorted(zip(probabilities, tasks, strict=True), reverse=True)
    first, *others = ((task, share) for share, task in ranked[:LIKELY])
    return (first, *(other for other in others if other[1] >= LEAST_LIKELY))


def rows_of(vocabulary: dict[str, int], features: set[str]) -> list[int]:
    """The rows of the features that the vocabulary knows."""
    return [row for row in map(vocabulary.get, features) if row is not None]
