"""A batch in which most requests are other routers': what is known of ours is taken to hold for them."""

import pytest

from policies.occupancy import Occupancy, Usual, largest
from policies.replica import Pool, Replica

DRAFT = Replica("d0", Pool("draft", "m", "t", "d", "eagle", 4))


def test_a_batch_of_others_is_not_one_that_drafts_nothing() -> None:
    """None of ten requests is ours; our own to the pool had k = 2 and 4 by turns."""
    usual = Usual()
    for _ in range(50):
        usual.note(2, 100)
        usual.note(4, 300)
    replica = Occupancy(usual=usual)
    replica.beat(10, 0, 0.1, 1.0)
    seen = replica.seen(DRAFT)
    assert (seen.running, seen.max_k, seen.own) == (10, 4, 0.0)
    assert seen.mean_k == pytest.approx(3, abs=0.05)
    assert seen.mean_context_tokens == pytest.approx(200, abs=5)
    assert seen.k_shares[2] == pytest.approx(2 / 11)
    assert seen.k_shares[4] - seen.k_shares[2] == pytest.approx(2 / 6, abs=0.01)


def test_what_is_ours_counts_as_it_is() -> None:
    """Two of ours at k = 1 among two of others, who usually have 3."""
    usual = Usual({3: 10.0}, 1000.0, 10.0)
    replica = Occupancy(usual=usual)
    replica.beat(2, 0, 0.1, 0.0)
    tickets = [replica.enter(1, 10, 100, 1.0) for _ in range(2)]
    seen = replica.seen(DRAFT)
    assert (seen.running, seen.max_k, seen.own) == (4, 3, 0.5)
    assert seen.mean_k == pytest.approx((2 * 1 + 2 * usual_mean(usual)) / 4)
    batch = replica.leave(tickets[0], 2.0)
    assert batch.known == pytest.approx(0.5)
    assert batch.mean_max_k == 3


def usual_mean(usual: Usual) -> float:
    """Mean k of what is usual."""
    return sum(k * count for k, count in usual.ks.items()) / usual.total


def test_alone_nothing_is_supposed() -> None:
    """Where the heartbeat counts no more requests than we have there, only ours are seen."""
    replica = Occupancy(usual=Usual({4: 50.0}, 5000.0, 50.0))
    ticket = replica.enter(1, 10, 100, 0.0)
    replica.beat(1, 0, 0.1, 1.0)
    seen = replica.seen(DRAFT)
    assert (seen.max_k, seen.mean_k, seen.own) == (1, 1.0, 1.0)
    assert replica.leave(ticket, 2.0).known == 1.0


def test_the_largest_of_expected_numbers() -> None:
    """A k that less than one request in two is expected to have does not set the batch's."""
    assert largest({4: 0.3, 2: 5.0}) == 2
    assert largest({4: 0.3, 3: 0.3}) == 3
    assert largest({0: 3.0}) == 0
    assert largest({}) == 0
