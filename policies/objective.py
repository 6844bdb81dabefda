"""What an operator wants minimised, as an order of the options that the terms allow."""

from collections.abc import Callable, Iterator, Sequence

from policies.rules import Objective, Target
from policies.scoring import Option, best, option
from policies.words import Request, Score

MARGIN = 0.9
"""A target counts as met when the prediction stays below this share of it: predictions are means, not bounds."""


def preferred(scores: Sequence[Score], request: Request, objective: Objective) -> Option:
    """The option that serves the objective best."""
    if objective.kind == "cheapest":
        return _least(scores, lambda score, k: score.engine_s(k))
    target = objective.targets.get(request.segment) or objective.targets.get("default")
    if objective.kind == "goodput" and target is not None:
        return _within(scores, target)
    return best(scores)


def _within(scores: Sequence[Score], target: Target) -> Option:
    """The least engine time among what meets the target (slack is left to others); the fastest where nothing does."""
    meeting = [(s, k) for s, k in _options(scores) if meets(s, k, target)]
    if not meeting:
        return _least(scores, lambda score, k: score.tpot_s(k) + score.wait_s)
    score, k = min(meeting, key=lambda at: at[0].engine_s(at[1]))
    return option(score, k)


def meets(score: Score, k: int, target: Target) -> bool:
    """True where the predicted wait and time per token stay below the targets, with the margin."""
    tpot, ttft = target.tpot_ms, target.ttft_ms
    fast = tpot is None or score.tpot_s(k) * 1e3 <= MARGIN * tpot
    return fast and (ttft is None or score.wait_s * 1e3 <= MARGIN * ttft)


def _least(scores: Sequence[Score], cost: Callable[[Score, int], float]) -> Option:
    score, k = min(_options(scores), key=lambda at: cost(at[0], at[1]))
    return option(score, k)


def _options(scores: Sequence[Score]) -> Iterator[tuple[Score, int]]:
    return ((score, k) for score in scores for k in range(score.low, score.high + 1))
