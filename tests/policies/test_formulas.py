"""The closed formulas on worked numbers and their laws."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import formulas
from policies.priors import acceptance_prior

ALPHA = st.floats(0.01, 0.99)
K = st.integers(1, 12)


@pytest.mark.parametrize(
    ("alpha", "article", "speedups"),
    [
        (0.3, 1.24, (1.18, 1.16, 1.02, 0.89, 0.79)),
        (0.5, 1.50, (1.36, 1.46, 1.38, 1.24, 1.11)),
        (0.7, 1.95, (1.55, 1.82, 1.98, 1.91, 1.78)),
        (0.8, 2.33, (1.64, 2.03, 2.40, 2.47, 2.40)),
        (0.9, 2.93, (1.73, 2.26, 2.93, 3.26, 3.40)),
    ],
)
def test_published_speedups(alpha: float, article: float, speedups: tuple[float, ...]) -> None:
    """Both estimates at k = 4, and Leviathan's at c = .1 for k = 1, 2, 4, 6, 8."""
    assert formulas.article_speedup(alpha, 4) == pytest.approx(article, abs=0.006)
    for k, expected in zip((1, 2, 4, 6, 8), speedups, strict=True):
        assert formulas.leviathan(alpha, k, 0.1) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(("alpha", "best"), [(0.3, (2, 1, 1)), (0.5, (3, 2, 1)), (0.7, (6, 4, 3)), (0.8, (8, 6, 4))])
def test_best_k_falls_with_the_cost_of_a_draft(alpha: float, best: tuple[int, ...]) -> None:
    """The best k at c = .05, .1 and .2."""
    curve = formulas.survival([alpha] * 8)
    assert tuple(formulas.best_k(curve, c).k for c in (0.05, 0.1, 0.2)) == best


def test_vllm_acceptance_rate_is_not_alpha() -> None:
    """α = .775 shows as a rate of .55 at k = 4."""
    assert formulas.acceptance_rate(0.775, 4) == pytest.approx(0.55, abs=0.01)


@given(ALPHA)
@settings(deadline=None)
def test_the_article_sees_no_gain_at_one_draft(alpha: float) -> None:
    """Its estimate is 1 at k = 1 for every acceptance."""
    assert formulas.article_speedup(alpha, 1) == pytest.approx(1.0)


@given(ALPHA, K)
@settings(deadline=None)
def test_constant_acceptance_agrees_with_the_curve(alpha: float, k: int) -> None:
    """E(k) from S is Leviathan's closed form when h is constant."""
    curve = formulas.survival([alpha] * k)
    assert formulas.expected_tokens(curve, k) == pytest.approx(formulas.leviathan_tokens(alpha, k))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 0.5))
@settings(deadline=None)
def test_best_k_is_the_best(h: list[float], c: float) -> None:
    """No other k has a larger speed-up, k = 0 included."""
    curve = formulas.survival(h)
    found = formulas.best_k(curve, c)
    others = [formulas.expected_tokens(curve, k) / (1 + k * c) for k in range(len(h) + 1)]
    assert found.speedup == pytest.approx(max(others))


@pytest.mark.parametrize(
    ("task", "k"),
    [
        ("sql_generation", 7),
        ("code_generation", 6),
        ("api_call_generation", 6),
        ("question_answering", 5),
        ("mathematics", 5),
        ("summarization", 4),
        ("legal_analysis", 4),
        ("translation", 4),
        ("customer_support", 3),
        ("creative_writing", 2),
    ],
)
def test_first_k_of_a_cold_start(task: str, k: int) -> None:
    """At c = .1 and no load the priors ask for the published first k."""
    curve = formulas.survival(acceptance_prior(task, False, 12))
    assert formulas.best_k(curve, 0.1).k == k


def test_response_time_of_a_512_token_answer() -> None:
    """50 ms to the first token and 20 ms for each other, at twice the speed."""
    assert formulas.response_time_s(512, 0.05, 0.02, 2.0) == pytest.approx(0.05 + 511 * 0.01)


def test_alpha_counts_rejected_steps() -> None:
    """Accepted over accepted and rejections; unknown without evidence."""
    assert formulas.alpha_of(30, 10) == pytest.approx(0.75)
    assert math.isnan(formulas.alpha_of(0, 0))


@given(st.floats(0.001, 0.999))
@settings(deadline=None)
def test_logit_and_expit_are_inverse(p: float) -> None:
    """There and back."""
    assert formulas.expit(formulas.logit(p)) == pytest.approx(p)
