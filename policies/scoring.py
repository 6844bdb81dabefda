"""Seconds per token of every pool, replica and k: the time of this request, the harm to its neighbours, and the
wait."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from zlib import crc32

from policies.cost import StepModel, bucket
from policies.estimator import Curve
from policies.knowledge import Knowledge
from policies.terms import Range, Terms, k_range
from policies.words import Pool, Replica, Request, Score

NEVER = math.inf
FULLEST = 0.9
"""Beyond this share a batch is saturated: the requests that wait, not its growth, tell what a delay costs."""


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
    return Option(score.engine, k, score.u_s[k], score.tpot_s[k], score.noise[k])


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


VANILLA = Curve((), (), 1.0, (1.0,), (1.0,), (0.0,), (0.0,), 0.0, 0.0, 1.0, (), 0.0)


def score_all(
    request: Request, replicas: Sequence[Replica], found: Terms, knowledge: Knowledge, now_s: float, uniform: float
) -> tuple[Score, ...]:
    """Score every replica; `uniform` only rotates the order, so that equals share the load."""
    harm, length = knowledge.document.objective.harm, knowledge.output_tokens(request)
    ranges = _ranges(request, replicas, found, knowledge)
    favoured = _favoured(request, replicas)
    curves: dict[str, Curve] = {}
    per_token: dict[str, tuple[float, ...]] = {}
    scores: list[Score] = []
    start = int(uniform * len(replicas))
    for at in (*range(start, len(replicas)), *range(start)):
        replica, allowed = replicas[at], ranges[at]
        curve = curves.get(replica.pool.name)
        if curve is None:
            curve = curves[replica.pool.name] = _curve(request, replica.pool, knowledge, now_s)
            per_token[replica.pool.name] = steps_per_token(curve, length)
        model, inverse = knowledge.step_model(replica, now_s), per_token[replica.pool.name]
        own = cells(request, replica, inverse, model, harm, length, replica.name in favoured)
        scores.append(
            Score(
                replica,
                own.u_s,
                own.tpot_s,
                own.engine_s,
                curve.noise,
                own.wait_s,
                allowed.low,
                allowed.high,
                allowed.blocked,
            )
        )
    return tuple(scores)


def _curve(request: Request, pool: Pool, knowledge: Knowledge, now_s: float) -> Curve:
    return knowledge.curve(request, pool, now_s) if pool.k_max else VANILLA


def _ranges(request: Request, replicas: Sequence[Replica], found: Terms, knowledge: Knowledge) -> list[Range]:
    """The k allowed at each replica; where that leaves nothing, pools' rules give way first, then the mode.

    k = 0 in a speculative pool is dearer than vanilla (the drafter stays loaded): it counts only where there is
    no vanilla one.
    """
    pools, idle = found.pools, found.vanilla and all(replica.pool.k_max for replica in replicas)
    ranges = [
        k_range(found, request, replica, knowledge.document)
        if pools is None or replica.pool.name in pools
        else Range(1, 0, found.reason)
        for replica in replicas
    ]
    if any(r.low <= r.high for r in ranges):
        return [Range(0, r.high, r.blocked) if idle and r.low <= r.high else r for r in ranges]
    if any(replica.pool.k_max == 0 for replica in replicas):
        return [Range(0, 0) if replica.pool.k_max == 0 else r for replica, r in zip(replicas, ranges, strict=True)]
    return [Range(0, 0) for _ in replicas]


@dataclass(frozen=True, slots=True)
class Cells:
    """Per k = 0 … k_max of one replica: u, time per token, engine time per token; and the wait for a place (as in
    `Score`)."""

    u_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    engine_s: tuple[float, ...]
    wait_s: float


def steps_per_token(curve: Curve, length: float) -> tuple[float, ...]:
    """1/E(k), k = 0 … k_max, for an answer of `length` tokens: its last step overshoots the end by (E − 1)/2 on
    average."""
    waste = 0.5 / max(length, 1.0)
    return tuple([i + (1 - i) * waste for i in curve.inverse])


def cascade(fixed_s: float, step_s: float) -> float:
    """1 / (1 − ρ), ρ the share of a step that grows with the batch: what slows a batch also keeps it fuller.

    At a steady arrival rate B is proportional to T(B), so a delay δ ends up as δ / (1 − B·T'(B)/T(B)).
    """
    return 1 / (1 - min(max(0.0, 1 - fixed_s / step_s), FULLEST)) if step_s > 0 else 1.0


def cells(
    request: Request,
    replica: Replica,
    inverse: tuple[float, ...],
    model: StepModel,
    harm: float,
    length: float,
    favoured: bool,
) -> Cells:
    """u = (T·wait + λ·B·(T − T_without)·cascade) / E(k) for every k.

    The harm lasts as long as the request stays, 1/E(k) steps per token of its own: that is the marginal time of the
    system.
    In it the drafting passes count by their shares, so that nobody rides for free on a batch's largest k.
    """
    batch, top = float(replica.running), replica.max_k
    base, per_request, per_draft, jump, per_k, per_kv, _ = model.thetas[bucket(batch + 1)]
    drafts, kv = batch * replica.mean_k, batch * replica.mean_context_tokens / 1000
    own_kv = (request.prompt_tokens + length / 2) / 1000 if replica.mean_context_tokens else 0.0
    passes = jump + per_k * top if top else 0.0
    without = base + per_request * batch + per_draft * drafts + per_kv * kv + passes
    joined = per_request + per_kv * own_kv
    common = without - passes + joined
    steps = [common + jump + per_draft * k + per_k * (k if k > top else top) for k in range(len(inverse))]
    steps[0] = common + passes
    if replica.k_shares:
        first = 0.0 if top else jump
        extra = [joined + first + per_draft * k + per_k * share for k, share in enumerate(replica.k_shares)]
        extra[0] = joined
    else:
        extra = [step - without for step in steps]
    tpot_s = tuple(map(mul, steps, inverse))
    engine_s = tuple(map(mul, extra, inverse)) if batch else tpot_s
    queued = (replica.waiting + (replica.running >= replica.max_running)) / replica.max_running
    # A session's own replica still holds its prefix: what it saves is the prefill, about one draft token's work per
    # token.
    saved = request.prompt_tokens * per_draft / max(length, 1.0) if favoured else 0.0
    # Whoever takes a place in a full batch waits for one, and makes as many wait behind it as stand before it.
    wait = 1.0 + queued * (1 + harm)
    weight = harm * (batch + replica.waiting) * cascade(base + passes, without)
    u_s = tuple([wait * t + weight * e - saved for t, e in zip(tpot_s, engine_s, strict=True)])
    return Cells(u_s, tpot_s, engine_s, queued * tpot_s[0] * length)


def _favoured(request: Request, replicas: Sequence[Replica]) -> frozenset[str]:
    """The replica of each pool that a session or prefix belongs to, by rendezvous hashing: every router finds the
    same."""
    if request.affinity is None:
        return frozenset()
    best: dict[str, tuple[int, str]] = {}
    for replica in replicas:
        weight = (crc32(f"{request.affinity}|{replica.name}".encode()), replica.name)
        best[replica.pool.name] = max(best.get(replica.pool.name, weight), weight)
    return frozenset(name for _, name in best.values())
