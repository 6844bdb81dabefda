"""The retry budget on a clock that the test sets."""

import pytest

from router.traffic.budget import MEMORY_S, RetryBudget


def test_an_outage_is_not_amplified() -> None:
    """Every request fails at 100 a second: retries settle at the share of them, and the floor."""
    budget = RetryBudget(share=0.1, floor=10)
    retries = 0
    for request in range(10_000):
        now_s = request / 100
        budget.asked(now_s)
        retries += budget.take(now_s)
    # The floor is spent once per memory, 100 s are ten of them.
    assert retries == pytest.approx(0.1 * 10_000 + 10 * 100 / MEMORY_S, rel=0.15)


def test_a_quiet_router_may_retry_up_to_the_floor() -> None:
    """And again when that is forgotten."""
    budget = RetryBudget(share=0.0, floor=3)
    assert [budget.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert not budget.take(0.1)
    assert budget.take(3 * MEMORY_S)


def test_no_budget_is_no_retry() -> None:
    """A floor and share of 0 switch retries off."""
    budget = RetryBudget(share=0.0, floor=0)
    budget.asked(0.0)
    assert not budget.take(0.0)
