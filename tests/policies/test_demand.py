"""When a sleeping pool is missed enough to be called back."""

import math

from hypothesis import given
from hypothesis import strategies as st

from policies.demand import WINDOW_S, PoolDemand

REQUESTS = st.lists(st.tuples(st.floats(0, 120), st.floats(0, 600)), max_size=60)
"""Seconds since the request before, and those that it would take."""


def _missed(demand: PoolDemand, requests: list[tuple[float, float]]) -> list[tuple[float, bool]]:
    now_s, said = 0.0, []
    for gap_s, busy_s in requests:
        now_s += gap_s
        said.append((now_s, demand.missed(busy_s, now_s)))
    return said


@given(REQUESTS, st.floats(0.01, 10), st.floats(0, 300))
def test_it_is_never_called_before_its_delay(requests: list[tuple[float, float]], level: float, delay_s: float) -> None:
    """Counted from its first request at the earliest."""
    said = _missed(PoolDemand(level, delay_s), requests)
    assert all(now_s - said[0][0] >= delay_s for now_s, missed in said if missed)


@given(REQUESTS, st.floats(0, 100))
def test_work_that_is_too_little_never_calls(requests: list[tuple[float, float]], delay_s: float) -> None:
    """Where all of it together is less than the level for one window, no mean can reach it."""
    level = sum(busy_s for _, busy_s in requests) / WINDOW_S * 1.001 + 1e-9
    assert not any(missed for _, missed in _missed(PoolDemand(level, delay_s), requests))


@given(st.floats(0.1, 30), st.floats(0.05, 20), st.floats(0, 300))
def test_steady_work_calls_once_the_delay_is_over(every_s: float, level: float, delay_s: float) -> None:
    """Twice the level, arriving evenly, is noticed: within two windows, the delay, and a request more."""
    fading = 1 - math.exp(-every_s / WINDOW_S)
    busy_s = 2 * level * fading * WINDOW_S  # the mean just after a request tends to twice the level
    count = math.ceil((delay_s + 2 * WINDOW_S) / every_s) + 2
    said = _missed(PoolDemand(level, delay_s), [(every_s, busy_s)] * count)
    assert said[-1][1]


@given(REQUESTS, REQUESTS, st.floats(0.01, 10), st.floats(0, 100))
def test_more_work_never_calls_later(
    requests: list[tuple[float, float]], extra: list[tuple[float, float]], level: float, delay_s: float
) -> None:
    """The same requests, each as long or longer."""
    longer = [(gap_s, busy_s + (extra[i][1] if i < len(extra) else 0.0)) for i, (gap_s, busy_s) in enumerate(requests)]
    before = [missed for _, missed in _missed(PoolDemand(level, delay_s), requests)]
    after = [missed for _, missed in _missed(PoolDemand(level, delay_s), longer)]
    assert all(late or not early for early, late in zip(before, after, strict=True))


def test_a_pause_starts_the_delay_anew() -> None:
    """Two busy moments an hour apart are not an hour of being missed."""
    demand = PoolDemand(level=1, delay_s=30)
    assert not demand.missed(120, now_s=0)
    assert not demand.missed(120, now_s=3600)
    assert demand.missed(120, now_s=3631)
