"""Probabilities that mean what they say, from labels of sources that the model never saw.

A model is surest where it was trained. So the temperature is fitted, and every honest figure is taken, on
predictions for one group of sources by a model trained on all the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from classifiers.examples import Example
from classifiers.label import Label
from classifiers.model import Model, Weights, most_likely
from classifiers.scoring import source_family
from classifiers.training import Featured, Recipe, train

_TEMPERATURES = np.geomspace(0.3, 4.0, 120)

Probabilities = NDArray[np.float64]
Advance = Callable[[int, int], None]


def leave_source_out(
    kept: Sequence[Featured], held: Sequence[Featured], recipe: Recipe, folds: int, advance: Advance
) -> tuple[tuple[str, ...], Probabilities]:
    """The tasks, and for each held example the probabilities by models that never saw its source.

    The `kept` examples are in every training; `folds` groups of the held sources are left out in turn.
    `advance` is called with (done, all) before the first training and after each. Raises ValueError where nothing is
    left to train on.
    """
    family = [source_family(item.example.source) for item in held]
    by_size = sorted(set(family), key=lambda source: (-family.count(source), source))  # the same in every process
    fold_of = {source: at % folds for at, source in enumerate(by_size)}
    tasks = tuple(sorted({item.example.task for item in (*kept, *held)}))
    found = np.full((len(held), len(tasks)), 1e-9)
    trainings = sorted(set(fold_of.values()))
    if not kept and len(trainings) < 2:
        raise ValueError(
            f"scores leave sources out, and all examples are of {by_size[0]!r}: name several in `source`, "
            "where what follows a blank does not count"
        )
    advance(0, len(trainings))
    for done, fold in enumerate(trainings, 1):
        chosen = [at for at, source in enumerate(family) if fold_of[source] == fold]
        rest = [item for at, item in enumerate(held) if fold_of[family[at]] != fold]
        weights = train([*kept, *rest], recipe)
        columns = [tasks.index(task) for task in weights.tasks]
        for at in chosen:
            found[at, columns] = Model(weights).probabilities(held[at].example.prompt)
        advance(done, len(trainings))
    return tasks, found


def best_temperature(probabilities: Probabilities, truth: Sequence[int]) -> float:
    """The temperature under which the true tasks are most probable (least negative log likelihood)."""
    rows = np.arange(len(truth))
    losses = [-np.log(heated(probabilities, by)[rows, truth]).mean() for by in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def heated(probabilities: Probabilities, temperature: float) -> Probabilities:
    """The probabilities at another temperature; 1 leaves them as they are, more evens them out."""
    odds = np.clip(probabilities, 1e-12, 1) ** (1 / temperature)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def labels_of(tasks: Sequence[str], probabilities: Probabilities) -> list[Label]:
    """The most probable task of each row, with those that come next."""
    found = [most_likely(tasks, row) for row in probabilities.tolist()]
    return [Label(*likely[0], "model", likely) for likely in found]


def tools_bonus(weights: Weights, examples: Sequence[Example], recall: float = 0.98) -> float:
    """The least bonus at which that share of the tool requests is labelled api_call_generation, at most 20.

    The examples are tool requests without the words of the tools in them, so their text alone tells little.
    """
    for bonus in np.arange(0.0, 20.0, 0.5):
        model = Model(replace(weights, tools_bonus=float(bonus)))
        found = [model.classify(example.prompt).task == example.task for example in examples]
        if sum(found) >= recall * len(found):
            return float(bonus)
    return 20.0
