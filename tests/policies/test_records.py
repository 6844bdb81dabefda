"""Records of decayed sums: what a delta does, and that merging deltas changes nothing."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.records import EMPTY, Delta, Record, Shrink, apply, flaw, merge

VALUES = st.dictionaries(st.sampled_from(["s1", "e1", "^until"]), st.floats(0, 1e4), max_size=3)
STEPS = st.floats(0, 2000)


@given(VALUES, VALUES, VALUES, STEPS, STEPS)
@settings(deadline=None)
def test_merged_deltas_do_what_both_do(
    old: dict[str, float], first: dict[str, float], second: dict[str, float], one: float, two: float
) -> None:
    """At one moment, applying a merge equals applying its parts in turn."""
    record = apply(EMPTY, Delta("k", old), 100.0)
    a, b = Delta("k", first, one, 600, 3600), Delta("k", second, two, 600, 3600)
    merged = merge(a, b)
    assert merged is not None
    both, at_once = apply(apply(record, a, 200.0), b, 200.0), apply(record, merged, 200.0)
    assert both.fields.keys() == at_once.fields.keys()
    for name, value in both.fields.items():
        assert at_once.fields[name] == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_evidence_halves_by_steps_and_by_time() -> None:
    """600 steps halve, six hours halve, both quarter."""
    record = apply(EMPTY, Delta("k", {"e1": 100.0}), 1000.0)
    later = apply(record, Delta("k", {}, 600, 600, 6 * 3600), 1000.0 + 6 * 3600)
    assert later.fields["e1"] == pytest.approx(25.0)


def test_a_clock_that_jumps_back_neither_decays_nor_rewinds() -> None:
    """The record keeps its time and its sums."""
    record = apply(EMPTY, Delta("k", {"e1": 8.0}), 1000.0)
    again = apply(record, Delta("k", {"e1": 1.0}, half_life_s=10), 500.0)
    assert again == Record({"e1": 9.0}, 1000.0, 0)


def test_floored_sums_neither_decay_nor_fall_below_zero() -> None:
    """A CUSUM forgets what is below its floor, not what is above."""
    record = apply(EMPTY, Delta("k", {"+up": 3.0}), 10.0)
    assert apply(record, Delta("k", {"+up": 1.0}, 600, 600, 60), 1e6).fields["+up"] == 4.0
    assert apply(record, Delta("k", {"+up": -9.0}), 11.0).fields["+up"] == 0.0


def test_sums_towards_an_alarm_that_was_raised_are_left_out() -> None:
    """Another router's sums, formed before the shrink, come too late; its evidence and its probes' grant do not
    double."""
    alarm = Delta("k", {"+boost": 20.0}, shrink=Shrink(0, 0.5))
    record = apply(apply(EMPTY, Delta("k", {"e1": 8.0, "+up": 6.0}, epoch=0), 1.0), alarm, 1.0)
    late = apply(apply(record, Delta("k", {"e1": 1.0, "+up": 5.0}, epoch=0), 1.0), alarm, 1.0)
    assert late.fields == {"e1": 5.0, "+up": 0.0, "+boost": 20.0}
    assert apply(late, Delta("k", {"+up": 5.0}, epoch=1), 1.0).fields["+up"] == 5.0


def test_a_shrink_happens_once_for_all_routers() -> None:
    """The second router's shrink finds another epoch and only adds."""
    record = apply(EMPTY, Delta("k", {"e1": 800.0, "+up": 9.0}), 10.0)
    shrink = Delta("k", {}, shrink=Shrink(0, 0.025))
    once = apply(record, shrink, 11.0)
    twice = apply(once, shrink, 11.0)
    assert once.fields == {"e1": pytest.approx(20.0), "+up": 0.0}
    assert (once.epoch, twice.epoch, twice.fields) == (1, 1, once.fields)


def test_what_must_stay_apart_is_not_merged() -> None:
    """Other keys, other half-lives, other epochs and a shrink on either side."""
    delta = Delta("k", {"e1": 1.0}, 1, 600, 60)
    assert merge(delta, Delta("other", {})) is None
    assert merge(delta, Delta("k", {}, 1, 300, 60)) is None
    assert merge(delta, Delta("k", {}, 1, 600, 60, Shrink(0, 0.5))) is None
    assert merge(Delta("k", {}, 1, 600, 60, Shrink(0, 0.5)), delta) is None
    assert merge(delta, Delta("k", {}, 1, 600, 60, epoch=0)) is None


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Record({"e1": math.nan}, 10.0), "value"),
        (Record({"e1": math.inf}, 10.0), "value"),
        (Record({"s1": -1.0}, 10.0), "value"),
        (Record({"e1": 1.0}, 1e12), "future"),
        (Record({"e1": 1.0}, math.nan), "future"),
        (Record({f"e{i}": 1.0 for i in range(100)}, 10.0), "fields"),
        (Record({"y0": -3.0, "n0": 2.0}, 10.0), None),
    ],
)
def test_records_that_cannot_be_believed(record: Record, why: str | None) -> None:
    """Not finite, negative, from the future or too large; sums of logarithms may be negative."""
    assert flaw(record, 100.0) == why
