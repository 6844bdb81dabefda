"""The survival formula against its closed form and against a literal walk of an engine's verify steps."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.demo.survival import K, survival_curve


@given(h=st.floats(0, 1), lengths=st.lists(st.integers(40, 80), min_size=1, max_size=5))
def test_constant_acceptance_gives_powers(h: float, lengths: list[int]) -> None:
    """S(i) = h^i, whatever the lengths of the outputs."""
    curve = survival_curve([[h] * length for length in lengths])
    assert curve == pytest.approx([h**i for i in range(1, K + 1)], abs=1e-9)


@given(st.lists(st.lists(st.booleans(), max_size=30), min_size=1, max_size=6))
def test_certain_outcomes_equal_a_walk_of_the_steps(outputs: list[list[bool]]) -> None:
    """With acceptances of 0 and 1 the curve is the count over the steps an engine would take."""
    curve = survival_curve([[float(accepted) for accepted in output] for output in outputs])
    assert curve == pytest.approx(_curve_of(list(map(_walk, outputs))), abs=1e-9)


def test_uncertain_outcomes_equal_the_mean_of_many_walks() -> None:
    """Fractional acceptances agree with outcomes drawn from them."""
    random = Random(5)
    output = [random.random() for _ in range(25)]
    walks = [_walk([random.random() < accepted for accepted in output]) for _ in range(20_000)]
    assert survival_curve([output]) == pytest.approx(_curve_of(walks), abs=0.01)


def test_nothing_drafted_is_no_survival() -> None:
    """Outputs of a single token never reach a verify step."""
    assert survival_curve([[], []]) == (0.0,) * K


def _walk(output: list[bool]) -> list[tuple[int, int]]:
    """(drafts counted, drafts accepted) of each verify step over one output."""
    steps, place = [], 0
    while place < len(output):
        drafted = output[place : place + K]
        accepted = drafted.index(False) if False in drafted else len(drafted)
        steps.append((len(drafted), accepted))
        place += accepted + 1
    return steps


def _curve_of(walks: list[list[tuple[int, int]]]) -> list[float]:
    steps = [step for walk in walks for step in walk]
    curve, survival = [], 1.0
    for i in range(1, K + 1):
        tried = sum(min(accepted + 1, drafted) >= i for drafted, accepted in steps)
        survival *= sum(accepted >= i for _, accepted in steps) / tried if tried else 0.0
        curve.append(survival)
    return curve
