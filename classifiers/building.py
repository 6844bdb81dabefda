"""A classifier from examples: trained, calibrated, scored on sources it did not see, with its card."""

import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

from classifiers.calibration import (
    Advance,
    best_temperature,
    heated,
    labels_of,
    leave_source_out,
    tools_bonus,
)
from classifiers.corpus import tool_requests
from classifiers.examples import Example
from classifiers.label import Label
from classifiers.model import API_CALL, Weights
from classifiers.scoring import Score, score, source_family
from classifiers.training import Recipe, featured, train

FOLDS = 4
_LIBRARIES = ("scikit-learn", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class Built:
    """A classifier with its temperature and tools bonus, its score on unseen sources, and what its card says.

    `unseen` holds the examples that were scored, each with the label of a model that never saw its source.
    """

    weights: Weights
    score: Score
    unseen: Sequence[tuple[Example, Label]]
    card: Mapping[str, object]


def build(
    own: Sequence[Example],
    outside: Sequence[Example],
    recipe: Recipe | None = None,
    folds: int = FOLDS,
    advance: Advance = lambda done, of: None,
) -> Built:
    """Train on the project's own examples and those from outside.

    Temperature and score come from the outside examples, each labelled by a model that never saw its source; where
    they lack some of the own tasks, from the families of the own ones too. `advance` is called with (done, all) before
    the first training and after each. Raises ValueError for examples of fewer than two tasks or of one source.
    """
    if not own and not outside:
        raise ValueError("training needs examples: name files of them, or leave the project's own in")
    recipe = recipe or Recipe()
    ours, theirs = featured(own), featured(outside)
    lacking = {item.task for item in own} - {item.task for item in outside}
    kept, held = ([], [*ours, *theirs]) if lacking or not theirs else (ours, theirs)
    tasks, probabilities = leave_source_out(kept, held, recipe, folds, advance)
    truth = [tasks.index(item.example.task) for item in held]
    temperature = best_temperature(probabilities, truth)
    labels = labels_of(tasks, heated(probabilities, temperature))
    unseen = [(item.example, label) for item, label in zip(held, labels, strict=True)]
    found = score([example for example, _ in unseen], labels)
    weights = replace(train([*ours, *theirs], recipe), temperature=temperature)
    if API_CALL in weights.tasks:
        weights = replace(weights, tools_bonus=tools_bonus(weights, tool_requests()))
    return Built(weights, found, unseen, _card(own, outside, recipe, found))


def _card(own: Sequence[Example], outside: Sequence[Example], recipe: Recipe, unseen: Score) -> dict[str, object]:
    return {
        "data": {
            "own": _described(own),
            "outside": _described(outside),
            "outside_sources": _sources(outside),
        },
        "recipe": asdict(recipe),
        "scores_on_sources_left_out": asdict(unseen),
        "libraries": {name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
    }


def _sources(examples: Sequence[Example]) -> dict[str, dict[str, object]]:
    """Each source with the number of its examples and the licences that their lines name."""
    counts: Counter[str] = Counter()
    licences: dict[str, set[str]] = {}
    for example in examples:
        source = source_family(example.source)
        counts[source] += 1
        licences.setdefault(source, set()).update({example.licence} - {""})
    return {source: {"examples": counts[source], "licences": sorted(licences[source])} for source in sorted(counts)}


def _described(examples: Sequence[Example]) -> dict[str, object]:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example.task}\x00{example.prompt.text}\x00".encode("utf-8", "surrogatepass"))
    per_task = Counter(example.task for example in examples)
    return {"examples": len(examples), "sha256": digest.hexdigest(), "per_task": dict(sorted(per_task.items()))}
