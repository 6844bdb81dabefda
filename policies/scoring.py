"""Seconds per token of every pool, replica and k: the time of this request, the harm to its neighbours, and the
wait."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from policies.cells import Drafts, demand, drafts_of, mixed, score_of
from policies.choice import Score
from policies.doubt import shares
from policies.estimator import Curve
from policies.knowledge import Knowledge
from policies.quick import quick
from policies.replica import Pool, Replica
from policies.request import Request
from policies.terms import Range, Terms, is_calm, k_range

NEVER = math.inf


@quick
@dataclass(frozen=True, slots=True)
class Option:
    """One replica and k with its seconds per token, with (`u_s`) and without (`tpot_s`) others, and relative
    `noise`."""

    replica: Replica
    k: int
    u_s: float
    tpot_s: float
    noise: float


def option(score: Score, k: int) -> Option:
    """One cell of a score."""
    return Option(score.engine, k, score.u_s[k], score.tpot_s(k), score.noise[k])


def best(scores: Sequence[Score]) -> Option:
    """The cheapest allowed option; `score_all` allows at least one."""
    row, k, least = scores[0], 0, NEVER
    for score in scores:
        if score.low <= score.high:
            allowed = score.u_s[score.low : score.high + 1]
            u = min(allowed)
            if u < least:
                row, k, least = score, score.low + allowed.index(u), u
    return option(row, k)


def best_vanilla(scores: Sequence[Score]) -> Option | None:
    """The cheapest allowed k = 0; None where the terms or the pools have none."""
    allowed = [score for score in scores if score.low == 0 <= score.high]
    return option(min(allowed, key=lambda score: score.u_s[0]), 0) if allowed else None


def best_speculative(scores: Sequence[Score], k: int | None = None) -> Option | None:
    """The cheapest allowed option with drafts, at a given k if one is named; None without one."""
    found: Option | None = None
    for score in scores:
        low, high = max(score.low, k or 1), min(score.high, k or score.high)
        if low <= high:
            allowed = score.u_s[low : high + 1]
            u = min(allowed)
            if found is None or u < found.u_s:
                found = option(score, low + allowed.index(u))
    return found


def best_in_pool(scores: Sequence[Score], pool: str, k: int) -> Option | None:
    """The cheapest replica of a pool at one k; None where it is not allowed or the pool is gone."""
    allowed = [s for s in scores if s.low <= k <= s.high and s.engine.pool.name == pool]
    return option(min(allowed, key=lambda score: score.u_s[k]), k) if allowed else None


VANILLA = Curve((), (), 1.0, (1.0,), (1.0,), (1.0,), (0.0,), (0.0,), 0.0, 0.0, 1.0, (), 0.0)

BUSIER = 1.25
"""As in consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2017), whose factor is 1 + ε."""


def score_all(
    request: Request, replicas: Sequence[Replica], found: Terms, knowledge: Knowledge, now_s: float, uniform: float
) -> tuple[Score, ...]:
    """Score every replica; `uniform` only rotates the order, so that equals share the load."""
    objective = found.objective or knowledge.document.objective
    asked = demand(request, knowledge.output_tokens(request), objective.harm)
    ranges, favoured = _ranges(request, replicas, found, knowledge), _favoured(request, replicas)
    tasks = shares(request, knowledge)
    pools: dict[str, Drafts] = {}
    scores: list[Score] = []
    start = int(uniform * len(replicas))
    for at in (*range(start, len(replicas)), *range(start)):
        replica = replicas[at]
        drafts = pools.get(replica.pool.name)
        if drafts is None:
            if tasks and replica.pool.k_max:
                parts = [(p, drafts_of(curve_of(one, replica.pool, knowledge, now_s), asked)) for p, one in tasks]
                drafts = mixed(parts)
            else:
                drafts = drafts_of(curve_of(request, replica.pool, knowledge, now_s), asked)
            pools[replica.pool.name] = drafts
        load = knowledge.load(replica, asked.harm, now_s)
        scores.append(score_of(asked, replica, load, drafts, ranges[at], replica.name in favoured))
    return tuple(scores)


def curve_of(request: Request, pool: Pool, knowledge: Knowledge, now_s: float) -> Curve:
    """What is believed of the pool's drafter for this request; nothing lands in a vanilla pool."""
    return knowledge.curve(request, pool, now_s) if pool.k_max else VANILLA


def _ranges(request: Request, replicas: Sequence[Replica], found: Terms, knowledge: Knowledge) -> list[Range]:
    """The k allowed at each replica; where that leaves nothing, pools' rules give way first, then the mode.

    k = 0 in a speculative pool is dearer than vanilla (the drafter stays loaded): it counts only where there is
    no vanilla one.
    """
    pools, idle = found.pools, found.vanilla and all(replica.pool.k_max for replica in replicas)
    calm: dict[str, Range] = {}
    ranges = []
    for replica in replicas:
        if pools is not None and replica.pool.name not in pools:
            ranges.append(Range(1, 0, found.reason))
        elif is_calm(replica, knowledge.document):
            known = calm.get(replica.pool.name)
            if known is None:
                known = calm[replica.pool.name] = k_range(found, request, replica, knowledge.document)
            ranges.append(known)
        else:
            ranges.append(k_range(found, request, replica, knowledge.document))
    if any(r.low <= r.high for r in ranges):
        return [Range(0, r.high, r.blocked) if idle and r.low <= r.high else r for r in ranges]
    if any(replica.pool.k_max == 0 for replica in replicas):
        return [Range(0, 0) if replica.pool.k_max == 0 else r for replica, r in zip(replicas, ranges, strict=True)]
    return [Range(0, 0) for _ in replicas]


def _favoured(request: Request, replicas: Sequence[Replica]) -> frozenset[str]:
    """The replica of each pool that a session or prefix belongs to, by rendezvous hashing: every router finds the
    same. One that is busier than `BUSIER` times its pool's mean is passed over, so that a popular prefix spreads."""
    if request.affinity is None:
        return frozenset()
    loads: dict[str, list[int]] = {}
    for replica in replicas:
        loads.setdefault(replica.pool.name, []).append(replica.running + replica.waiting)
    bounds = {pool: BUSIER * sum(load) / len(load) + 1 for pool, load in loads.items()}
    best: dict[str, tuple[int, str]] = {}
    for replica in replicas:
        if replica.running + replica.waiting <= bounds[replica.pool.name]:
            weight = (crc32(f"{request.affinity}|{replica.name}".encode()), replica.name)
            best[replica.pool.name] = max(best.get(replica.pool.name, weight), weight)
    return frozenset(name for _, name in best.values())
