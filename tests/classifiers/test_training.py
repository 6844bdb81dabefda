"""Training on an operator's own examples: new tasks, versions, calibration and the card."""

import random

import numpy as np
import pytest

from classifiers.artefact import load
from classifiers.building import build
from classifiers.examples import Example
from classifiers.explaining import explain
from classifiers.model import Model
from classifiers.prompt import Prompt, prompt_of
from classifiers.training import Recipe, featured, train

SUBJECTS = ("the ledger", "our invoices", "last month", "this account", "the new supplier", "the branch in Rome")
STYLES = {
    "bookkeeping": (
        "Reconcile {}",
        "Post the accruals of {}",
        "Book {} to the right cost centre",
        "Close the books for {}",
    ),
    "weather_report": (
        "Forecast rain for {}",
        "Will it snow near {}?",
        "Wind and cloud over {}",
        "Storm warning about {}",
    ),
}


def own_examples(count: int = 60) -> list[Example]:
    """Prompts of two tasks that the project does not know."""
    rng = random.Random(1)
    return [
        Example(task, prompt_of(rng.choice(styles).format(rng.choice(SUBJECTS))), f"{task}/{at % 4}")
        for at in range(count)
        for task, styles in STYLES.items()
    ]


def test_new_tasks_are_learnt_from_examples() -> None:
    """Two tasks by example are told apart on wordings not seen."""
    weights = train(featured(own_examples()))
    model = Model(weights)
    assert model.classify(prompt_of("Reconcile the petty cash")).task == "bookkeeping"
    assert model.classify(prompt_of("Forecast rain for Sunday")).task == "weather_report"
    assert set(model.tasks) == {"bookkeeping", "weather_report", "other"}


def test_training_is_reproducible() -> None:
    """The same examples give the same weights."""
    one, other = (train(featured(own_examples(20))) for _ in range(2))
    assert one.vocabulary == other.vocabulary
    assert np.array_equal(one.words, other.words)


def test_one_task_is_refused() -> None:
    """There is nothing to tell apart."""
    examples = [example for example in own_examples(5) if example.task == "bookkeeping"]
    with pytest.raises(ValueError, match="at least two tasks"):
        train(featured(examples))


def test_rows_are_bounded() -> None:
    """The recipe's limit on features holds, whatever the examples."""
    weights = train(featured(own_examples()), Recipe(max_rows=30))
    assert len(weights.words) == 30
    assert sum(map(len, weights.vocabulary.values())) == 30


def test_a_build_is_scored_on_sources_left_out_and_carries_its_card() -> None:
    """The score covers every outside example, the card tells data, recipe, libraries and score."""
    steps: list[tuple[int, int]] = []
    built = build(own_examples(10), own_examples(30), folds=3, advance=lambda done, of: steps.append((done, of)))
    assert sum(found.examples for found in built.score.per_task.values()) == 60
    assert built.score.macro_f1_tasks > 0.9
    assert steps[-1][0] == steps[-1][1] > 1
    assert built.card["libraries"].keys() >= {"scikit-learn", "numpy"}  # type: ignore[attr-defined]
    assert built.weights.temperature > 0


def test_a_file_with_a_new_task_alone_is_scored_with_the_others() -> None:
    """Temperature and score come from all tasks, not from how surely the new one is found."""
    sowing = [
        Example("sowing", prompt_of(f"Sow {crop} in row {at}"), f"f/{at}")
        for at in range(8)
        for crop in ("rye", "oats")
    ]
    built = build(own_examples(10), sowing, folds=2)
    assert {task: found.examples for task, found in built.score.per_task.items()} == {
        "bookkeeping": 10,
        "sowing": 16,
        "weather_report": 10,
    }
    assert built.score.per_task["sowing"].f1 > 0.9


def test_fewer_sources_than_the_recipe_wants_are_enough() -> None:
    """An operator's two files are two sources."""
    examples = [Example(item.task, item.prompt, f"s{at % 2}") for at, item in enumerate(own_examples())]
    assert len(train(featured(examples)).words) > 0


def test_inference_and_training_see_the_same_numbers() -> None:
    """NumPy's probabilities are those that scikit-learn's own would be: sums over rows, softmax over tasks."""
    examples = featured(own_examples(20))
    weights = train(examples)
    model = Model(weights)
    for item in examples[:6]:
        probabilities = model.probabilities(item.example.prompt)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert weights.tasks[probabilities.index(max(probabilities))] == item.example.task


def test_an_explanation_names_the_words_that_decided() -> None:
    """The strongest reasons for a translation mention translating or a language."""
    found = explain(Model(load().weights), prompt_of("Translate this letter into Swahili"))
    assert found.label.task == "translation"
    assert any("translat" in reason.feature or "languages" in reason.feature for reason in found.reasons)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-4)


def test_an_explanation_of_nothing_is_possible() -> None:
    """Even an empty prompt has probabilities and a label."""
    found = explain(Model(load().weights), Prompt())
    assert found.label.task == "other"
