"""The acceptance model: survival curves stay survival curves, keep their mean, and run in streaks."""

from itertools import pairwise
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.simulator.acceptance import EASY_TILT, HARD_SHARE, PROMPT_TILT_MAX, Luck, tilted_curves
from engines.simulator.calibration import TaskProfile

K_MAX = 8

profiles = st.builds(
    TaskProfile,
    h=st.lists(st.floats(0, 1), min_size=1, max_size=K_MAX).map(tuple),
    streak=st.floats(0, 1),
    prompt_spread=st.floats(0, 1),
    streak_steps=st.floats(1, 50),
)


@given(profiles, st.floats(PROMPT_TILT_MAX - 1, PROMPT_TILT_MAX), st.sampled_from([EASY_TILT, -1.0]))
def test_every_tilt_is_a_survival_curve(profile: TaskProfile, prompt_x: float, streak_x: float) -> None:
    """Within 0…1 and never rising, however hard or easy the prompt and the stretch."""
    tilted = tilted_curves(profile, 0.0, K_MAX).tilted(streak_x, prompt_x)
    assert all(-1e-12 <= s <= 1 + 1e-9 for s in tilted)
    assert all(first >= second - 1e-9 for first, second in pairwise(tilted))


@given(profiles, st.floats(PROMPT_TILT_MAX - 1, PROMPT_TILT_MAX))
def test_stretches_keep_the_mean_at_every_position(profile: TaskProfile, prompt_x: float) -> None:
    """A quarter of hard steps and three quarters of easy ones average to the prompt's own curve."""
    curves = tilted_curves(profile, 0.0, K_MAX)
    plain = curves.tilted(0.0, prompt_x)
    easy, hard = curves.tilted(EASY_TILT, prompt_x), curves.tilted(-1.0, prompt_x)
    for mean, e, h in zip(plain, easy, hard, strict=True):
        assert (1 - HARD_SHARE) * e + HARD_SHARE * h == pytest.approx(mean)


@given(profiles)
def test_the_untilted_curve_is_the_product_of_h(profile: TaskProfile) -> None:
    """S(i) is what the calibration says."""
    survival = 1.0
    for position, s in enumerate(tilted_curves(profile, 0.0, K_MAX).tilted(0.0, 0.0), start=1):
        survival *= profile.h_at(position, 0.0)
        assert s == pytest.approx(survival)


def test_drawn_acceptance_has_the_calibrated_mean() -> None:
    """Over many prompts S(1…3) comes out within three standard errors."""
    profile = TaskProfile(h=(0.8, 0.7, 0.9))
    curves = tilted_curves(profile, 0.0, K_MAX)
    accepted = [Luck(profile, curves, Random(seed)).accepted(3) for seed in range(20_000)]
    for position, expected in enumerate((0.8, 0.56, 0.504), start=1):
        share = fmean(j >= position for j in accepted)
        assert share == pytest.approx(expected, abs=3 * (expected * (1 - expected) / 20_000) ** 0.5)


def test_stretches_average_out_along_one_output() -> None:
    """The chain starts in its stationary state and stays there: the mean holds per step, not only per prompt."""
    profile = TaskProfile(h=(0.7,), prompt_spread=0, streak=1, streak_steps=6)
    luck = Luck(profile, tilted_curves(profile, 0.0, K_MAX), Random(7))
    assert fmean(luck.accepted(1) for _ in range(60_000)) == pytest.approx(0.7, abs=0.02)


def test_acceptance_runs_in_streaks() -> None:
    """Neighbouring steps are alike, which independent draws would not be."""
    profile = TaskProfile(h=(0.5,), prompt_spread=0, streak=1, streak_steps=20)
    luck = Luck(profile, tilted_curves(profile, 0.0, K_MAX), Random(7))
    steps = [luck.accepted(1) for _ in range(40_000)]
    both = fmean(first * second for first, second in pairwise(steps))
    assert both - fmean(steps) ** 2 > 0.02


def test_prompts_of_one_task_differ() -> None:
    """Means over long outputs vary from prompt to prompt far more than chance allows."""
    profile = TaskProfile(h=(0.7,), prompt_spread=1, streak=0)
    curves = tilted_curves(profile, 0.0, K_MAX)
    means = []
    for seed in range(40):
        luck = Luck(profile, curves, Random(seed))
        means.append(fmean(luck.accepted(1) for _ in range(2_000)))
    assert max(means) - min(means) > 0.15


@given(st.integers(0, 2**32), st.integers(1, K_MAX))
def test_a_larger_k_accepts_at_least_as_many_with_the_same_luck(seed: int, k: int) -> None:
    """The first step of one prompt under two k differs only by the cut: comparisons of k are paired."""
    profile = TaskProfile(h=(0.75,))
    curves = tilted_curves(profile, 0.0, K_MAX)
    smaller, larger = (Luck(profile, curves, Random(seed)).accepted(asked) for asked in (k - 1, K_MAX))
    assert smaller == min(larger, k - 1)


@given(st.floats(0, 2), st.floats(0, 3))
def test_temperature_and_scale_move_h_within_bounds(temperature: float, scale: float) -> None:
    """Between greedy and temperature 1 h is interpolated, beyond it stays, and a scale cannot leave 0…1."""
    profile = TaskProfile(h=(0.9,), sampled_h=(0.5,))
    assert profile.h_at(1, temperature, scale) == pytest.approx(min(1, scale * (0.9 - 0.4 * min(temperature, 1))))


def test_a_drafter_proposes_as_often_as_calibrated() -> None:
    """n-gram drafters have nothing to say in most steps."""
    profile = TaskProfile(h=(0.5,), proposal_rate=0.3)
    luck = Luck(profile, tilted_curves(profile, 0.0, K_MAX), Random(1))
    assert fmean(luck.proposes() for _ in range(20_000)) == pytest.approx(0.3, abs=0.01)
