"""The head that predicts a request's own acceptance: it learns, merges and fades."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.acceptance import DIMENSIONS, LEAST, MOST, AcceptanceHead, Vector, features_of, no_evidence, sums_of
from classifiers.prompt import prompt_of

MEAN = 0.6

outcomes = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 20)).map(
        lambda drawn: (drawn[0], min(drawn[1:]), max(drawn[1:]))
    ),
    max_size=12,
)


def drawn(seed: int) -> Vector:
    """Features of an imagined prompt."""
    return np.random.default_rng(seed).standard_normal(DIMENSIONS)


def head_of(found: list[tuple[int, int, int]]) -> AcceptanceHead:
    """A head that observed the outcomes."""
    head = AcceptanceHead()
    for seed, accepted, drafted in found:
        head.observe(drawn(seed), MEAN, accepted, drafted)
    return head


def test_without_evidence_it_predicts_the_mean_of_the_task() -> None:
    """A new head changes no decision."""
    assert AcceptanceHead().predict(drawn(1), MEAN) == MEAN


def test_it_learns_which_prompts_are_accepted_more() -> None:
    """Where acceptance follows a feature, predictions follow it too, and beat the task's mean by a margin."""
    rng = np.random.default_rng(7)
    slopes = np.zeros(DIMENSIONS)
    slopes[3] = 0.15

    def true_rate(features: Vector) -> float:
        return float(np.clip(MEAN + features @ slopes, LEAST, MOST))

    head = AcceptanceHead()
    for _ in range(600):
        features = rng.standard_normal(DIMENSIONS)
        head.observe(features, MEAN, int(rng.binomial(30, true_rate(features))), 30)
    head.take(head.drain())
    fresh = [rng.standard_normal(DIMENSIONS) for _ in range(200)]
    missed = np.mean([(head.predict(features, MEAN) - true_rate(features)) ** 2 for features in fresh])
    missed_by_mean = np.mean([(MEAN - true_rate(features)) ** 2 for features in fresh])
    assert missed < 0.1 * missed_by_mean


def test_noise_alone_teaches_little() -> None:
    """Where acceptance does not depend on the prompt, predictions stay near the mean."""
    rng = np.random.default_rng(8)
    head = AcceptanceHead()
    for _ in range(400):
        head.observe(rng.standard_normal(DIMENSIONS), MEAN, int(rng.binomial(20, MEAN)), 20)
    head.take(head.drain())
    wrong = [abs(head.predict(rng.standard_normal(DIMENSIONS), MEAN) - MEAN) for _ in range(200)]
    assert np.mean(wrong) < 0.03


@given(left=outcomes, right=outcomes)
def test_replicas_add_up(left: list[tuple[int, int, int]], right: list[tuple[int, int, int]]) -> None:
    """Two replicas' sums, added as flat lists in either order, are those of one replica that saw everything."""
    parts = [head_of(left).drain().numbers(), head_of(right).drain().numbers()]
    together = sums_of([one + other for one, other in zip(*parts, strict=True)])
    whole = head_of([*left, *right]).drain()
    assert np.allclose(together.moments, whole.moments)
    assert np.allclose(together.pulls, whole.pulls)
    assert together.weight == pytest.approx(whole.weight)


@given(found=outcomes, seed=st.integers(0, 1000), mean=st.floats(0, 1))
def test_predictions_are_rates(found: list[tuple[int, int, int]], seed: int, mean: float) -> None:
    """Whatever was learnt, a prediction stays within the allowed rates."""
    head = head_of(found)
    head.take(head.drain())
    assert LEAST <= head.predict(drawn(seed), mean) <= MOST


def test_a_drain_leaves_nothing_behind() -> None:
    """What was handed over is not handed over twice."""
    head = head_of([(1, 2, 3)])
    assert head.drain().weight == 3
    assert head.drain().weight == 0


def test_faded_evidence_counts_less() -> None:
    """Scaling towards nothing brings the prediction back to the mean."""
    head = head_of([(1, 20, 20)] * 50)
    shared = head.drain()
    head.take(shared)
    sure = head.predict(drawn(1), MEAN)
    head.take(shared.scaled(0.01))
    assert MEAN < head.predict(drawn(1), MEAN) < sure
    head.take(no_evidence())
    assert head.predict(drawn(1), MEAN) == MEAN


def test_features_are_the_same_in_every_process_and_differ_between_prompts() -> None:
    """The projection has no hidden state, and unlike prompts look unlike."""
    code, poem = prompt_of("def f(x):\n    return x"), prompt_of("Write a poem about rain")
    assert features_of(code).shape == (DIMENSIONS,)
    assert np.array_equal(features_of(code), features_of(code))
    assert not np.allclose(features_of(code), features_of(poem))


def test_impossible_numbers_are_refused() -> None:
    """More accepted than drafted, no prior, or a list of the wrong length are the caller's mistakes."""
    with pytest.raises(ValueError, match="accepted is 4"):
        AcceptanceHead().observe(drawn(0), MEAN, 4, 3)
    with pytest.raises(ValueError, match="ridge"):
        AcceptanceHead(ridge=0)
    with pytest.raises(ValueError, match="numbers"):
        sums_of([1.0])
