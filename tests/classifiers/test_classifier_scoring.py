"""Scores: against numbers worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from classifiers.calibration import best_temperature, heated
from classifiers.examples import Example
from classifiers.label import Label, Uninformed
from classifiers.prompt import Prompt, prompt_of
from classifiers.scoring import calibration_error, chance_error, score, timed
from classifiers.tables import plot_confusion

EXAMPLES = [
    Example(task, prompt_of(task), source) for task, source in (("a", "x 1"), ("a", "x 2"), ("b", "y"), ("other", "y"))
]


def labels(*tasks: str, confidence: float = 1.0) -> list[Label]:
    """Labels of the model."""
    return [Label(task, confidence, "model") for task in tasks]


def test_f1_confusion_and_sources_by_hand() -> None:
    """a: 1 of 2 found, nothing else called a. b: found, with two strangers. other: never."""
    found = score(EXAMPLES, labels("a", "b", "b", "b"))
    assert found.per_task["a"].f1 == pytest.approx(2 / 3)
    assert found.per_task["b"].precision == pytest.approx(1 / 3)
    assert found.per_task["b"].f1 == pytest.approx(1 / 2)
    assert found.per_task["other"].f1 == 0
    assert found.macro_f1_tasks == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.macro_f1_with_other == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.confusion["a"] == {"a": 1, "b": 1}
    assert found.per_source["x"].accuracy == 0.5
    assert found.recall_tools is None


def test_recall_of_tool_requests_counts_them_alone() -> None:
    """Only requests that offer tools, and are API calls, count."""
    asked = [Example("api_call_generation", prompt_of("x", has_tools=tools), "s") for tools in (True, True, False)]
    found = score(asked, labels("api_call_generation", "other", "other"))
    assert found.recall_tools == 0.5


def test_calibration_error_is_the_gap_of_each_bin() -> None:
    """Two bins: .9 sure and right half the time, .2 sure and never right."""
    confidence = np.array([0.9, 0.9, 0.2, 0.2])
    right = np.array([True, False, False, False])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.4 + 0.5 * 0.2)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0


def test_true_confidences_have_an_error_by_chance_on_few_prompts() -> None:
    """A hundred coins: the mean distance from a half is the root of 2 / pi standard errors. Certainty has none."""
    assert chance_error(np.full(100, 0.5)) == pytest.approx((2 / np.pi) ** 0.5 * 0.05, abs=0.004)
    assert chance_error(np.full(100, 1.0)) == 0


def test_times_are_of_the_examples_and_of_requests_of_both_sizes() -> None:
    """Every size has a median and a 99th percentile, and the classifier is shown texts of that size."""
    seen: list[int] = []

    class Watched(Uninformed):
        """Notes how long the prompts are."""

        def classify(self, prompt: Prompt) -> Label:
            """`other`."""
            seen.append(prompt.chars)
            return super().classify(prompt)

    found = timed(score(EXAMPLES, labels("a", "b", "b", "b")), Watched(), EXAMPLES)
    assert found.p50_ms is not None
    assert found.p99_ms is not None
    assert 0 < found.p50_ms <= found.p99_ms
    assert list(found.latency) == ["1 KB", "64 KB"]
    assert all(0 < latency.p50_ms <= latency.p99_ms for latency in found.latency.values())
    assert {1_024, 65_536} <= set(seen)


def test_scores_need_one_label_for_each_example() -> None:
    """Nothing to score and unequal lengths are refused."""
    with pytest.raises(ValueError, match="0 for 4"):
        score(EXAMPLES, [])
    with pytest.raises(ValueError, match="0 for 0"):
        score([], [])


def test_the_best_temperature_cools_boasters_and_warms_the_shy() -> None:
    """A model that is right 7 times of 10 but claims .99 needs a temperature above 1, one that claims .51 below."""
    truth = [0] * 7 + [1] * 3
    boaster = np.tile([0.99, 0.01], (10, 1))
    shy = np.tile([0.51, 0.49], (10, 1))
    assert best_temperature(boaster, truth) > 1.5
    assert best_temperature(shy, truth) < 0.5
    claimed = heated(boaster, best_temperature(boaster, truth))[0, 0]
    assert claimed == pytest.approx(0.7, abs=0.25)
    assert np.allclose(heated(boaster, 1.0), boaster)


def test_the_confusion_matrix_can_be_drawn(tmp_path: Path) -> None:
    """A picture appears where it was asked for."""
    plot_confusion(score(EXAMPLES, labels("a", "b", "b", "b")), tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
