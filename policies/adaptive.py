"""The policy of this project: the score of every pool, replica and k, held against habit, with a little exploration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from policies.choice import Choice, Reason, Score
from policies.errors import NoReplica
from policies.explore import trial
from policies.holdout import guard_key, held_out, is_off
from policies.hysteresis import worth_changing
from policies.knowledge import Knowledge, traffic_class
from policies.learning import Lesson, learn_all
from policies.objective import preferred
from policies.outcome import Outcome
from policies.quick import quick
from policies.replica import Pool, Replica
from policies.request import Request
from policies.rules import ObjectiveKind
from policies.scoring import Option, best, best_in_pool, best_vanilla, score_all
from policies.shortlist import shortlist
from policies.terms import Terms, terms

TAUGHT, TAUGHT_STEPS = 10.0, 300.0
"""Requests, or verify steps, from which a class's acceptance is known well enough to speculate without looking: of long
answers the first never get to ten, for they age their own count."""


@quick
@dataclass(frozen=True, slots=True)
class Pick:
    """An option and why it was picked."""

    option: Option
    reason: Reason


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Chooses the least seconds per token; learns acceptance, step times and answer lengths; guards against being
    slower."""

    def decide(
        self, request: Request, replicas: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The pool, replica and k for a request; `uniform` is one draw from [0, 1). NoReplica where none can serve
        it."""
        ready = shortlist(request, serving(request, replicas), uniform)
        allowed = guarded(request, ready, knowledge, now_s)
        if not request.measured and allowed.open:
            allowed = taught(request, ready, allowed, knowledge, now_s)
        scores = score_all(request, ready, allowed, knowledge, now_s, uniform)
        top = preferred(scores, request, allowed.objective or knowledge.document.objective)
        picked = pick(request, top, scores, allowed, knowledge, now_s, uniform)
        return choice_of(request, picked, top, scores, knowledge, now_s)

    def learn(self, outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
        """What a finished request teaches; the caller absorbs the deltas and sends them to the store."""
        return learn_all(outcome, knowledge, now_s)


def serving(request: Request, replicas: Sequence[Replica]) -> list[Replica]:
    """The ready replicas of the request's model; NoReplica with the reasons where there is none."""
    ready = [r for r in replicas if r.state == "ready" and r.pool.model == request.model]
    if not ready:
        raise NoReplica(request.model, {r.name: r.state for r in replicas if r.pool.model == request.model})
    return ready


def guarded(request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float) -> Terms:
    """The document's terms for the request, vanilla while the never-slower guard holds its task off speculation."""
    document = knowledge.document
    allowed = terms(request, document, knowledge.output_tokens(request), now_s, ready)
    if document.guard.enabled and allowed.k_max and is_off(knowledge.record(guard_key(request)).fields, now_s):
        return replace(allowed, k_min=0, k_max=0, vanilla=True, reason=Reason.GUARD)
    return allowed


def taught(request: Request, replicas: Sequence[Replica], allowed: Terms, knowledge: Knowledge, now_s: float) -> Terms:
    """The terms of a request that teaches nothing: no trials, and no drafter that others like it have not taught."""
    pools = {
        replica.pool.name
        for replica in replicas
        if replica.pool.k_max == 0 or _is_taught(request, replica.pool, knowledge, now_s)
    }
    asked = pools if allowed.pools is None else pools & allowed.pools
    return replace(allowed, pools=frozenset(asked), reason=Reason.UNMEASURED)


def _is_taught(request: Request, pool: Pool, knowledge: Knowledge, now_s: float) -> bool:
    fields = knowledge.record(knowledge.acceptance_key(request, pool, now_s)).fields
    return fields.get("n", 0.0) >= TAUGHT or fields.get("e1", 0.0) >= TAUGHT_STEPS


def pick(
    request: Request,
    top: Option,
    scores: Sequence[Score],
    allowed: Terms,
    knowledge: Knowledge,
    now_s: float,
    uniform: float,
) -> Pick:
    """Observe, try, hold out, keep the habit, or take the best: the first that applies."""
    vanilla, kind = best_vanilla(scores), (allowed.objective or knowledge.document.objective).kind
    if knowledge.document.observe_only:
        return Pick(vanilla or top, Reason.OBSERVE)
    if allowed.open:
        tried = trial(request, top, scores, knowledge, now_s, uniform)
        if tried is not None:
            return Pick(tried.option, tried.reason)
        # Whoever asks for the cheapest takes what is slower than vanilla: there is nothing to check.
        held_against = vanilla if top.k and kind != "cheapest" else None
        if held_against and held_out(held_against.u_s / top.u_s - 1, knowledge.document.guard, uniform):
            return Pick(held_against, Reason.HOLD_OUT)
    kept = keep_or_change(request, top, scores, kind, knowledge)
    return kept if allowed.open else Pick(kept.option, allowed.reason or kept.reason)


def keep_or_change(
    request: Request, top: Option, scores: Sequence[Score], kind: ObjectiveKind, knowledge: Knowledge
) -> Pick:
    """The best option, or the class's habit where that is not worth a change; to leave a queue for a target is."""
    if kind == "cheapest":
        return Pick(top, Reason.CHEAPEST)
    habit = knowledge.habits.get(traffic_class(request))
    if habit is None or (habit.pool, habit.k) == (top.replica.pool.name, top.k):
        return Pick(top, Reason.FASTEST)
    if kind == "goodput" and top.u_s > best(scores).u_s:
        return Pick(top, Reason.FASTEST)
    kept = best_in_pool(scores, habit.pool, habit.k)
    if kept is None or worth_changing(top, kept, knowledge.document.hysteresis):
        return Pick(top, Reason.FASTEST)
    return Pick(kept, Reason.HELD)


def choice_of(
    request: Request, picked: Pick, top: Option, scores: tuple[Score, ...], knowledge: Knowledge, now_s: float
) -> Choice:
    """The choice with everything needed to explain it and to learn from it."""
    vanilla, chosen = best_vanilla(scores), picked.option
    return Choice(
        engine=chosen.replica,
        k=chosen.k,
        reason=picked.reason,
        key=knowledge.acceptance_key(request, chosen.replica.pool, now_s) if chosen.k else None,
        u_s=chosen.u_s,
        tpot_s=chosen.tpot_s,
        vanilla_u_s=None if vanilla is None else vanilla.u_s,
        vanilla_tpot_s=None if vanilla is None else vanilla.tpot_s,
        expected_output_tokens=knowledge.output_tokens(request),
        best_pool=top.replica.pool.name,
        best_k=top.k,
        scores=scores,
    )
