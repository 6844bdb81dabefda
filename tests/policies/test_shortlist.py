"""In a large pool a few replicas are scored: fairly drawn, and the same ones for what belongs together."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from policies.replica import Pool, Replica
from policies.request import Request
from policies.shortlist import CANDIDATES, FEW, shortlist


def _pool(name: str, size: int) -> list[Replica]:
    return [Replica(f"{name}-{i:04}", Pool(name, "m", "t", k_max=0)) for i in range(size)]


def _request(affinity: str | None = None) -> Request:
    return Request("m", "other", affinity=affinity)


def test_a_router_of_many_looks_at_few() -> None:
    """Who sees one in fifty of a pool's requests takes the better of two; who sees all of them, the best of sixteen."""
    shares = {share: [replace(one, running=10, own=share) for one in _pool("p", 40)] for share in (0.02, 0.1, 1.0)}
    found = {share: len(shortlist(_request(), replicas, 0.3)) for share, replicas in shares.items()}
    assert found == {0.02: FEW, 0.1: 4, 1.0: CANDIDATES}
    assert len(shortlist(_request("session-7"), shares[0.02], 0.3)) == CANDIDATES, "affinity needs the same ones"


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.floats(0, 1, exclude_max=True))
def test_each_pool_has_its_candidates_once(sizes: list[int], uniform: float) -> None:
    """Small pools stay whole, of large ones come as many as are scored, nobody twice."""
    replicas = [one for i, size in enumerate(sizes) for one in _pool(f"p{i}", size)]
    found = shortlist(_request(), replicas, uniform)
    assert len({one.name for one in found}) == len(found)
    counts = Counter(one.pool.name for one in found)
    assert counts == {f"p{i}": min(size, CANDIDATES) for i, size in enumerate(sizes)}


def test_everybody_is_drawn_equally_often() -> None:
    """Over many draws, and over the smallest of them too, which are those that try something."""
    replicas, draws = _pool("p", 50), 20_000
    for largest in (1.0, 0.01):
        counts = Counter(
            one.name for i in range(draws) for one in shortlist(_request(), replicas, largest * (i + 0.5) / draws)
        )
        expected = draws * CANDIDATES / 50
        assert all(abs(count / expected - 1) < 0.15 for count in counts.values())
        assert len(counts) == 50


@given(st.floats(0, 1, exclude_max=True), st.randoms(use_true_random=False))
def test_what_belongs_together_meets_the_same_candidates(uniform: float, order: object) -> None:
    """Whatever the draw, and in whatever order a router heard of the replicas."""
    replicas = _pool("p", 80)
    expected = {one.name for one in shortlist(_request("session-7"), replicas, 0.5)}
    order.shuffle(replicas)  # type: ignore[attr-defined]
    assert {one.name for one in shortlist(_request("session-7"), replicas, uniform)} == expected


def test_one_replica_more_moves_few_sessions() -> None:
    """A pool that grows by one leaves most sessions most of their candidates."""
    before, after = _pool("p", 100), _pool("p", 101)
    kept = []
    for session in range(200):
        request = _request(f"s{session}")
        old, new = ({one.name for one in shortlist(request, pool, 0.0)} for pool in (before, after))
        kept.append(len(old & new) / CANDIDATES)
    assert sum(kept) / len(kept) > 0.9
