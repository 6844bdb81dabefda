"""What an operator wants minimised, as an order of the options that the terms allow."""

from collections.abc import Iterator, Sequence

from policies.choice import Score
from policies.request import Request
from policies.rules import Objective, Target
from policies.scoring import Option, best, option

MARGIN = 0.7
"""A target counts as met when the prediction stays below this share of it. Predictions are of the batch as a request
finds it; while it runs others join, and their prefills hold it up: in the simulator answers took 1.2 to 1.5 times."""

SLOWEST = 2.0
"""Times the fastest option's time per token that `cheapest` makes of a request at most. Whoever shares a batch shares
its steps, so that this bounds those who are in it already too."""


def preferred(scores: Sequence[Score], request: Request, objective: Objective) -> Option:
    """The option that serves the objective best."""
    target = objective.target(request.segment)
    if objective.kind == "cheapest":
        return _cheapest(scores, target)
    return _within(scores, target) if objective.kind == "goodput" else best(scores)


def _within(scores: Sequence[Score], target: Target) -> Option:
    """The least mean time; where that has to queue and would miss the target, the least of what meets it at once.

    To meet one target at others' cost makes them miss theirs: options up to a tenth or a third dearer were tried in the
    simulator, and the share that met a target moved by −4 to +4 points, with no gain beyond chance.
    """
    top = best(scores)
    row = next(score for score in scores if score.engine is top.replica)
    if not row.load.queued or meets(row, top.k, target):
        return top
    meeting = [(s, k) for s, k in _options(scores) if not s.load.queued and meets(s, k, target)]
    if not meeting:
        return top
    score, k = min(meeting, key=lambda at: at[0].u_s[at[1]])
    return option(score, k)


def _cheapest(scores: Sequence[Score], target: Target) -> Option:
    """The least of a replica's time among what need not queue and is fast enough.

    Where all queue, or nothing is fast enough, the least mean time: it drains a queue soonest.
    """
    free = [(s, k) for s, k in _options(scores) if not s.load.queued]
    limit_s = SLOWEST * min((s.tpot_s(k) for s, k in free), default=0.0)
    fit = [(s, k) for s, k in free if s.tpot_s(k) <= limit_s and meets(s, k, target)]
    if not fit:
        return best(scores)
    score, k = min(fit, key=lambda at: at[0].engine_s(at[1]))
    return option(score, k)


def meets(score: Score, k: int, target: Target) -> bool:
    """True where the predicted time per token, its share of the wait included, and the wait itself stay below the
    targets, with the margin."""
    tpot, ttft = target.tpot_ms, target.ttft_ms
    per_token_s = score.tpot_s(k) + score.load.queued * score.tpot_s(0)
    fast = tpot is None or per_token_s * 1e3 <= MARGIN * tpot
    return fast and (ttft is None or score.wait_s * 1e3 <= MARGIN * ttft)


def _options(scores: Sequence[Score]) -> Iterator[tuple[Score, int]]:
    return ((score, k) for score in scores for k in range(score.low, score.high + 1))
