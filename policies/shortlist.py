"""Which replicas of a large pool are scored for a request: a decision's time must not grow with the cluster."""

from collections.abc import Sequence
from zlib import crc32

from policies.replica import Replica
from policies.request import Request

CANDIDATES = 16
"""Replicas of a pool that are scored. The best of a few drawn at random is nearly as good as the best of all
(Mitzenmacher 2001, "The power of two choices"), and routers with stale copies do not all run to the same one."""

SHUFFLE = 1009.0

FEW, MOST = 2, 1.0
"""A router that sees a small share of a pool's requests learns of the others with their next heartbeat: if all took the
idlest of many, all would take the same one (Mitzenmacher 2000, "How useful is old information?"). Candidates are
therefore `MOST` times its share of them, `FEW` at least."""


def shortlist(request: Request, replicas: Sequence[Replica], uniform: float) -> Sequence[Replica]:
    """At most `CANDIDATES` neighbours of each pool, from a place drawn by `uniform`; pools up to that size stay whole.

    A request with an affinity gets the same neighbours every time, at every router, while replicas stay who they are.
    """
    if len(replicas) <= FEW:
        return replicas
    pools: dict[str, list[Replica]] = {}
    for replica in replicas:
        pools.setdefault(replica.pool.name, []).append(replica)
    # The digits behind those that decide whether something is tried: trials must not all meet the same replicas.
    drawn = uniform * SHUFFLE % 1.0 if request.affinity is None else crc32(request.affinity.encode()) / 2**32
    return [one for members in pools.values() for one in _neighbours(members, drawn, request.affinity is not None)]


def _neighbours(members: list[Replica], drawn: float, together: bool) -> list[Replica]:
    count = CANDIDATES if together else min(CANDIDATES, max(FEW, round(MOST * _share(members) * len(members))))
    if len(members) <= count:
        return members
    if together:  # routers hear of replicas in different orders
        members.sort(key=lambda replica: replica.name)
    start = int(drawn * len(members))
    return [*members[start : start + count], *members[: max(0, start + count - len(members))]]


def _share(members: Sequence[Replica]) -> float:
    """Of the requests inside the pool, those that are of this router."""
    inside = sum(one.running + one.waiting for one in members)
    return sum(one.own * (one.running + one.waiting) for one in members) / inside if inside else 1.0
