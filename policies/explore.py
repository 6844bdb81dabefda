"""Trying what the scores do not prefer: little, only while there is room, and within a budget of predicted excess
time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies.choice import Choice, Reason, Score
from policies.knowledge import Knowledge
from policies.outcome import Outcome
from policies.request import Request
from policies.scoring import Option, best_speculative, option

EXPLORED = frozenset({Reason.EXPLORE, Reason.PROBE, Reason.HOLD_OUT})
BUDGET_HALF_LIFE_S = 1800.0
OPTIMISM = 2.0
HOPELESS = 0.1
"""Share of the usual exploration for what could not win even if luck misled us: enough to notice that it changed."""

BOOSTED_SHARE = 0.5
"""Share of a class's requests that probe after a drift alarm, until it has had its probes."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An option to try instead of the preferred one, and why."""

    option: Option
    reason: Reason


def trial(
    request: Request, preferred: Option, scores: Sequence[Score], knowledge: Knowledge, now_s: float, uniform: float
) -> Trial | None:
    """An exploration for this draw, None for most: parked classes at a small k, probes after drift, one k deeper, and
    another drafter of which little is known."""
    rules = knowledge.document.exploration
    if not rules.enabled or uniform >= BOOSTED_SHARE or _load(scores) >= rules.max_load:
        return None
    if preferred.k == 0:
        return _parked(request, preferred, scores, knowledge, now_s, uniform)
    if uniform >= rules.deeper_share:
        return None
    found = (rival(preferred, scores) if uniform < rules.deeper_share / 2 else None) or deeper(preferred, scores)
    return Trial(found, Reason.EXPLORE) if found and affordable(found, preferred, request, knowledge) else None


def deeper(preferred: Option, scores: Sequence[Score]) -> Option | None:
    """One draft more on the same replica, where that may be."""
    row = next((s for s in scores if s.engine is preferred.replica and preferred.k < s.high), None)
    return None if row is None else option(row, preferred.k + 1)


def rival(preferred: Option, scores: Sequence[Score]) -> Option | None:
    """The drafter that could most likely beat the preferred one, if luck or a prior misled us; None where none could.

    Without it a drafter that joins is never met by traffic that speculates already.
    """
    mine = preferred.replica.pool.drafter_id
    rows: dict[str, list[Score]] = {}
    for row in scores:
        if row.engine.pool.drafter_id != mine:
            rows.setdefault(row.engine.pool.name, []).append(row)
    found = [tried for of_pool in rows.values() if (tried := best_speculative(of_pool)) and promising(tried, preferred)]
    return min(found, key=lucky_s, default=None)


def _parked(
    request: Request, preferred: Option, scores: Sequence[Score], knowledge: Knowledge, now_s: float, uniform: float
) -> Trial | None:
    rules = knowledge.document.exploration
    found = best_speculative(scores, rules.k) or best_speculative(scores)
    if found is None:
        return None
    record = knowledge.record(knowledge.acceptance_key(request, found.replica.pool, now_s)).fields
    boosted = record.get("+boost", 0.0) >= 1.0 or knowledge.watched(request, found.replica.pool, now_s)
    if boosted and affordable(found, preferred, request, knowledge):
        return Trial(found, Reason.PROBE)
    share = min(rules.share, rules.share_by_root_n / math.sqrt(max(1.0, record.get("n", 0.0))))
    share *= 1.0 if promising(found, preferred) else HOPELESS
    if uniform >= share or not affordable(found, preferred, request, knowledge):
        return None
    return Trial(found, Reason.EXPLORE)


def promising(tried: Option, preferred: Option) -> bool:
    """True where the option would be the better one if it were two standard errors better than believed."""
    return lucky_s(tried) < preferred.u_s


def lucky_s(tried: Option) -> float:
    """Seconds per token of an option that is two standard errors better than believed."""
    return tried.u_s * (1 - OPTIMISM * tried.noise)


def _load(scores: Sequence[Score]) -> float:
    """Share of the places taken in the replicas that may serve the request."""
    return sum(s.engine.running + s.engine.waiting for s in scores) / max(1, sum(s.engine.max_running for s in scores))


def affordable(tried: Option, preferred: Option, request: Request, knowledge: Knowledge) -> bool:
    """True while predicted excess, this one included, stays within the budget's share of the time served."""
    fields = knowledge.record(budget_key(request)).fields
    length = knowledge.output_tokens(request)
    spent = fields.get("excess", 0.0) + max(0.0, tried.u_s - preferred.u_s) * length
    return spent <= knowledge.document.exploration.budget * (fields.get("served", 0.0) + FIRST_S)


FIRST_S = 20.0
"""Seconds of service a new deployment is credited with, so that it may explore before it has served."""


def budget_key(request: Request) -> str:
    """The record of what exploring a model has cost."""
    return f"explore:{request.model}"


def budget_fields(outcome: Outcome) -> dict[str, float]:
    """Predicted time served, and the predicted excess where the request was an exploration; hold-outs have a budget of
    their own (`guard.budget`), and would eat up this one."""
    choice, tokens = outcome.choice, float(max(0, outcome.output_tokens))
    fields = {"served": choice.u_s * tokens}
    if choice.reason in EXPLORED - {Reason.HOLD_OUT}:
        fields["excess"] = max(0.0, excess_s(choice)) * tokens
    return fields


def excess_s(choice: Choice) -> float:
    """Seconds per token by which a choice was dearer than the best score."""
    allowed = [min(s.u_s[s.low : s.high + 1]) for s in choice.scores if s.low <= s.high]
    return choice.u_s - min(allowed) if allowed else 0.0
