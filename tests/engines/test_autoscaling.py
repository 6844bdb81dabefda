"""How many replicas a pool is given for its load."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.autoscaling import REQUESTS, ByLoadOrNone, by_load, replicas_for


def _context(*requests: float, target: float = 32, now: int = 2) -> Any:
    reported = {f"replica-{i}": count for i, count in enumerate(requests)}
    metrics = {REQUESTS: reported} if reported else None
    return SimpleNamespace(
        aggregated_metrics=metrics, target_num_replicas=now, config=SimpleNamespace(target_ongoing_requests=target)
    )


@pytest.mark.parametrize(
    ("requests", "replicas"), [((0, 0), 0), ((1, 0), 1), ((32, 32), 2), ((33, 32), 3), ((100, 100), 7)]
)
def test_replicas_follow_the_requests(requests: tuple[float, ...], replicas: int) -> None:
    """As many as hold the pool's requests at the target each; the bounds are Serve's to apply."""
    assert by_load(_context(*requests))[0] == replicas


def test_silence_changes_nothing() -> None:
    """While no replica has reported, none is added and none taken."""
    assert by_load(_context(now=3))[0] == 3


LOADS = st.floats(0, 1e6)


@given(LOADS, LOADS, st.floats(0.1, 500), st.integers(1, 20), st.floats(0, 10))
def test_a_pool_that_may_sleep_follows_its_load(
    requests: float, more: float, each: float, least: int, idle: float
) -> None:
    """None while it is idle; else never fewer than the least, room for all, and more load never means fewer."""
    found = replicas_for(requests, each, least, idle)
    assert (found == 0) == (requests <= idle)
    assert found == 0 or (found >= least and found * each >= requests * (1 - 1e-9))
    assert replicas_for(requests + more, each, least, idle) >= found


def test_idle_pools_sleep_and_busy_ones_keep_their_least() -> None:
    """By what its replicas report, the tenth of a request that exploring leaves there included."""
    policy = ByLoadOrNone(least=2, idle_requests=0.1)
    assert policy(_context(0.06, 0.04))[0] == 0
    assert policy(_context(0.06, 0.05))[0] == 2
    assert policy(_context(60, 40))[0] == 4
    assert policy(_context(now=0))[0] == 0, "whoever is missed calls; silence does not"
