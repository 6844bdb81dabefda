"""The policy of this project: the score of every pool, replica and k, held against habit."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.errors import NoReplica
from policies.hysteresis import worth_changing
from policies.knowledge import Knowledge, traffic_class
from policies.learning import Lesson, lessons
from policies.scoring import Option, best, best_in_pool, best_vanilla, score_all
from policies.terms import terms
from policies.words import Choice, Outcome, Reason, Replica, Request, Score


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Chooses the least seconds per token; learns acceptance, step times and answer lengths."""

    def decide(
        self, request: Request, replicas: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The pool, replica and k for a request; `uniform` is one draw from [0, 1). NoReplica where none can serve it."""
        ready = serving(request, replicas)
        allowed = terms(request, knowledge.document, knowledge.output_tokens(request), now_s)
        scores = score_all(request, ready, allowed, knowledge, now_s, uniform)
        preferred = best(scores)
        chosen, reason = keep_or_change(request, preferred, scores, knowledge)
        return choice_of(request, chosen, allowed.reason or reason, preferred, scores, knowledge, now_s)

    def learn(self, outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
        """What a finished request teaches; the caller absorbs the deltas and sends them to the store."""
        return Lesson(lessons(outcome, knowledge, now_s))


def serving(request: Request, replicas: Sequence[Replica]) -> list[Replica]:
    """The ready replicas of the request's model; NoReplica with the reasons where there is none."""
    ready = [r for r in replicas if r.state == "ready" and r.pool.model == request.model]
    if not ready:
        raise NoReplica(request.model, {r.name: r.state for r in replicas if r.pool.model == request.model})
    return ready


def keep_or_change(
    request: Request, preferred: Option, scores: Sequence[Score], knowledge: Knowledge
) -> tuple[Option, Reason]:
    """The preferred option, or the class's habit where that is not worth a change."""
    habit = knowledge.habits.get(traffic_class(request))
    if habit is None or (habit.pool, habit.k) == (preferred.replica.pool.name, preferred.k):
        return preferred, Reason.FASTEST
    kept = best_in_pool(scores, habit.pool, habit.k)
    if kept is None or worth_changing(preferred, kept, knowledge.document.hysteresis):
        return preferred, Reason.FASTEST
    return kept, Reason.HELD


def choice_of(
    request: Request,
    chosen: Option,
    reason: Reason,
    preferred: Option,
    scores: tuple[Score, ...],
    knowledge: Knowledge,
    now_s: float,
) -> Choice:
    """The choice with everything needed to explain it and to learn from it."""
    vanilla = best_vanilla(scores)
    return Choice(
        engine=chosen.replica,
        k=chosen.k,
        reason=reason,
        key=knowledge.acceptance_key(request, chosen.replica.pool, now_s) if chosen.k else None,
        u_s=chosen.u_s,
        tpot_s=chosen.tpot_s,
        vanilla_u_s=None if vanilla is None else vanilla.u_s,
        vanilla_tpot_s=None if vanilla is None else vanilla.tpot_s,
        expected_output_tokens=knowledge.output_tokens(request),
        best_pool=preferred.replica.pool.name,
        best_k=preferred.k,
        scores=scores,
    )
