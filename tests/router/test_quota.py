"""What is left of a key's limits: the sliding minute, the wait that is told, and a router that is alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.access.keys import KeyLimits
from router.access.quota import MINUTE_S, Account, Use, fullest, minute_of, rooms

START_S = 1_800_000_000.0
"""The first second of a minute."""


def _used(at_s: float, requests: int = 0, tokens: int = 0) -> Account:
    account = Account()
    account.add(at_s, requests, tokens)
    return account


def test_a_minute_begins_where_it_is_taken_to() -> None:
    """The other tests stand on it."""
    assert START_S % MINUTE_S == 0


@pytest.mark.parametrize(
    ("later_s", "left"), [(0, 4), (59, 4), (60, 4), (75, 5), (90, 7), (119, 9), (120, 10), (500, 10)]
)
def test_what_was_used_slides_out(later_s: float, left: int) -> None:
    """6 of 10 were used at the start of a minute: they count whole in it, and by the share that is left in the next."""
    account, limits = _used(START_S, requests=6), KeyLimits(requests_per_minute=10)
    assert rooms(account, limits, START_S + later_s)["requests"].left == left


def test_the_fullest_limit_refuses() -> None:
    """Each limit stands for itself; the one with the longest wait is named."""
    account = _used(START_S, requests=2, tokens=500)
    limits = KeyLimits(requests_per_minute=2, tokens_per_minute=100)
    found = rooms(account, limits, START_S + 30)
    assert fullest(found) == "tokens"
    assert found["tokens"].wait_s > found["requests"].wait_s > 0
    assert fullest(rooms(account, KeyLimits(requests_per_minute=3), START_S)) is None
    assert fullest(rooms(account, KeyLimits(), START_S)) is None


def test_requests_at_a_time() -> None:
    """Own and others' running requests count together, and nothing of them lingers."""
    account, limits = Account(running=2, elsewhere=1, until_s=START_S + 9), KeyLimits(concurrent=3)
    assert fullest(rooms(account, limits, START_S)) == "concurrent"
    assert fullest(rooms(account, limits, START_S + 9)) is None, "what others do not repeat is over"
    account.running = 1
    assert fullest(rooms(account, limits, START_S)) is None
    assert fullest(rooms(account, limits, START_S, routers=3)) == "concurrent"


def test_a_router_that_hears_nothing_keeps_to_its_share() -> None:
    """Of three routers each takes a third of the limit, or less where the others were known to have taken more."""
    limits, account = KeyLimits(requests_per_minute=30), _used(START_S, requests=10)
    assert fullest(rooms(account, limits, START_S, routers=None)) is None
    assert fullest(rooms(account, limits, START_S, routers=3)) == "requests"
    account = _used(START_S, requests=9)
    assert fullest(rooms(account, limits, START_S, routers=3)) is None
    account.others[minute_of(START_S)] = Use(requests=21)
    assert fullest(rooms(account, limits, START_S, routers=3)) == "requests"


def test_tokens_that_were_estimated_too_high_are_given_back() -> None:
    """Also when the minute has passed meanwhile: room never exceeds the limit."""
    account = _used(START_S, tokens=900)
    account.add(START_S + 61, tokens=-800)
    room = rooms(account, KeyLimits(tokens_per_minute=1000), START_S + 61)["tokens"]
    assert 850 < room.left <= 1000


@given(
    limit=st.integers(1, 1000),
    before=st.integers(0, 3000),
    now=st.integers(0, 3000),
    gone_s=st.floats(0, MINUTE_S - 1e-3),
)
def test_after_the_wait_that_is_told_one_more_fits(limit: int, before: int, now: int, gone_s: float) -> None:
    """Whatever was used, a client that waits as told is not refused again; and it need not wait much less."""
    account = _used(START_S - 1, requests=before)
    account.add(START_S, requests=now)
    limits, at_s = KeyLimits(requests_per_minute=limit), START_S + gone_s
    room = rooms(account, limits, at_s)["requests"]
    assert 0 <= room.left <= limit
    if room.wait_s:
        assert room.wait_s <= 2 * MINUTE_S + 0.01
        assert fullest(rooms(account, limits, at_s + room.wait_s)) is None
        if room.wait_s > 0.1:
            assert fullest(rooms(account, limits, at_s + room.wait_s - 0.1)) == "requests"
