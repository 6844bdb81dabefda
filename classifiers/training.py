"""How the classifier is trained: scikit-learn's multinomial logistic regression over the blocks of features."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from classifiers.examples import Example
from classifiers.model import Floats, Weights, rows_of
from classifiers.structure import NAMES, structure
from classifiers.words import BLOCKS, blocks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix as Matrix


@dataclass(frozen=True, slots=True)
class Recipe:
    """The choices of training; the defaults are those of the shipped classifier.

    A feature must occur in `least_sources` families (all, where there are fewer) and `least_examples` examples;
    `strength` is scikit-learn's C.
    """

    strength: float = 3.0
    least_examples: int = 5
    least_sources: int = 3
    max_rows: int = 40_000
    iterations: int = 60


@dataclass(frozen=True, slots=True)
class Featured:
    """An example reduced to what training sees of it."""

    example: Example
    blocks: dict[str, set[str]]
    shape: list[float]


def featured(examples: Iterable[Example]) -> list[Featured]:
    """The features of every example, computed once for any number of trainings."""
    return [Featured(example, blocks(example.prompt), structure(example.prompt)) for example in examples]


def train(examples: Sequence[Featured], recipe: Recipe | None = None) -> Weights:
    """Weights fitted to the examples, with neither temperature nor tools bonus; raises ValueError for one task only."""
    from sklearn.exceptions import ConvergenceWarning  # a second to import, and only training needs it
    from sklearn.linear_model import LogisticRegression

    recipe = recipe or Recipe()
    tasks = tuple(sorted({item.example.task for item in examples}))
    if len(tasks) < 2:
        raise ValueError(f"training needs examples of at least two tasks, found {list(tasks)!r}")
    vocabulary = _vocabulary(examples, recipe)
    matrix = _matrix(examples, vocabulary)
    labels = np.array([tasks.index(item.example.task) for item in examples])
    model = LogisticRegression(C=recipe.strength, max_iter=recipe.iterations, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
        model.fit(matrix, labels)
    columns, bias = _columns(model.coef_.astype(np.float32), model.intercept_.astype(np.float32))
    return Weights(tasks, vocabulary, columns[len(NAMES) :], columns[: len(NAMES)], bias)


def _columns(coefficients: Floats, bias: Floats) -> tuple[Floats, Floats]:
    columns = coefficients.T
    if columns.shape[1] == 1:  # of two tasks scikit-learn keeps only the second
        columns, bias = np.hstack([-columns / 2, columns / 2]), np.hstack([-bias / 2, bias / 2])
    return columns, bias


def _vocabulary(examples: Sequence[Featured], recipe: Recipe) -> dict[str, dict[str, int]]:
    kept: list[tuple[int, str, str]] = []
    enough = min(recipe.least_sources, len({item.example.source for item in examples}))
    for block in BLOCKS:
        counts: Counter[str] = Counter()
        sources: Counter[str] = Counter()
        seen: set[tuple[str, str]] = set()
        for item in examples:
            counts.update(item.blocks[block])
            pairs = {(item.example.source, feature) for feature in item.blocks[block]} - seen
            sources.update(feature for _, feature in pairs)
            seen |= pairs
        kept += [
            (count, block, feature)
            for feature, count in counts.items()
            if count >= recipe.least_examples and sources[feature] >= enough and "\x00" not in feature
        ]
    kept = sorted(kept, reverse=True)[: recipe.max_rows]
    vocabulary: dict[str, dict[str, int]] = {block: {} for block in BLOCKS}
    row = 0
    for block in BLOCKS:
        for feature in sorted(feature for _, of, feature in kept if of == block):
            vocabulary[block][feature] = row
            row += 1
    return vocabulary


def _matrix(examples: Sequence[Featured], vocabulary: dict[str, dict[str, int]]) -> "Matrix":
    """One row per example: the shape, then each present word weighed by its block's size, as inference does."""
    from scipy import sparse

    columns: list[int] = []
    values: list[float] = []
    starts = [0]
    for item in examples:
        for block in BLOCKS:
            rows = sorted(rows_of(vocabulary[block], item.blocks[block]))  # sums round alike in every process
            columns += rows
            values += [max(1, len(rows)) ** -0.5] * len(rows)
        starts.append(len(columns))
    width = sum(map(len, vocabulary.values()))
    words = sparse.csr_matrix((values, columns, starts), shape=(len(examples), width), dtype=np.float32)
    shapes = sparse.csr_matrix(np.array([item.shape for item in examples], dtype=np.float32))
    return sparse.hstack([shapes, words], format="csr")
