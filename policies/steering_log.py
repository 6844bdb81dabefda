"""One decision as it is kept: features, the score of every alternative, the reason and the outcome; never any text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from policies.choice import Choice, Score
from policies.outcome import Outcome
from policies.quick import quick
from policies.replica import Replica
from policies.request import Request

ALTERNATIVES = 12
"""Replicas kept of a decision: the chosen one, the best of each pool, then the next best."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One replica as it was seen, the k it allowed (low … high; `blocked` says what forbade more), and its scores.

    `u_ms[k]` is the predicted time per token with the harm to others and the wait, `tpot_ms[k]` the request's own.
    """

    engine: Replica
    low: int = 0
    high: int = 0
    blocked: str | None = None
    u_ms: tuple[float, ...] = ()
    tpot_ms: tuple[float, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Ending:
    """How it went: `tpot_ms` and `ttft_ms` as the engine measured them, 0 where it did not."""

    status: Literal["finished", "aborted", "failed"]
    output_tokens: int = 0
    tpot_ms: float = 0.0
    ttft_ms: float = 0.0
    queue_ms: float = 0.0
    steps: int = 0
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision; `policy` is the version that made it, times as predicted then."""

    request_id: str
    at_s: float
    router: str
    policy: int
    request: Request
    pool: str
    replica: str
    k: int
    reason: str
    u_ms: float
    tpot_ms: float
    vanilla_tpot_ms: float | None
    expected_output_tokens: float
    best_pool: str
    best_k: int
    alternatives: tuple[Alternative, ...]
    ending: Ending


def decision_of(
    request_id: str, router: str, request: Request, choice: Choice, ending: Ending, at_s: float, seen: Iterable[Replica]
) -> Decision:
    """The record of a choice; `seen` are the replicas there were, for a policy that keeps no scores."""
    vanilla = None if choice.vanilla_tpot_s is None else _ms(choice.vanilla_tpot_s)
    kept = [_scored(score) for score in _worth_keeping(choice)]
    if not kept:
        others = [one for one in seen if one.name != choice.replica][: ALTERNATIVES - 1]
        kept = [Alternative(_bare(one)) for one in (choice.engine, *others)]
    return Decision(
        request_id=request_id,
        at_s=at_s,
        router=router,
        policy=choice.policy,
        request=replace(request, affinity=None),
        pool=choice.pool,
        replica=choice.replica,
        k=choice.k,
        reason=str(choice.reason),
        u_ms=_ms(choice.u_s),
        tpot_ms=_ms(choice.tpot_s),
        vanilla_tpot_ms=vanilla,
        expected_output_tokens=round(choice.expected_output_tokens, 1),
        best_pool=choice.best_pool,
        best_k=choice.best_k,
        alternatives=tuple(kept),
        ending=ending,
    )


def ending_of(outcome: Outcome) -> Ending:
    """How a request went that the engine told of."""
    if not outcome.finished:
        return Ending("aborted")
    return Ending(
        "finished",
        outcome.output_tokens,
        _ms(outcome.generation_s / max(1, outcome.output_tokens - 1)),
        _ms(outcome.ttft_s),
        _ms(outcome.queue_s),
        len(outcome.drafted),
        sum(outcome.drafted),
        sum(outcome.accepted),
    )


def _worth_keeping(choice: Choice) -> Sequence[Score]:
    if len(choice.scores) <= ALTERNATIVES:
        return choice.scores
    ranked = sorted(choice.scores, key=lambda score: (score.low > score.high, min(score.u_s)))
    first: dict[str, Score] = {}
    for score in ranked:
        first.setdefault(score.pool, score)
    chosen = [score for score in ranked if score.replica == choice.replica]
    kept = {score.replica: score for score in [*chosen, *first.values(), *ranked]}
    return list(kept.values())[:ALTERNATIVES]


def _scored(score: Score) -> Alternative:
    blocked = None if score.blocked is None else str(score.blocked)
    ks = range(len(score.u_s))
    u_ms, tpot_ms = tuple(_ms(score.u_s[k]) for k in ks), tuple(_ms(score.tpot_s(k)) for k in ks)
    return Alternative(_bare(score.engine), score.low, score.high, blocked, u_ms, tpot_ms)


def _bare(replica: Replica) -> Replica:
    """Without what is the same for all its decisions (the probe)."""
    return replace(replica, probe=(), k_shares=tuple(round(share, 3) for share in replica.k_shares))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)
