"""From an outcome to the changes of the shared records."""

from dataclasses import dataclass

from policies import cost
from policies.evidence import HALF_LIFE_S, HALF_LIFE_STEPS, Counts, Ignored, acceptance_fields, outcome_counts
from policies.knowledge import Knowledge, task_key
from policies.records import Delta
from policies.words import Event, Outcome

TASK_HALF_LIFE_S = 6 * 3600.0
TASK_HALF_LIFE_REQUESTS = 500.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one outcome teaches: deltas for the shared records, and events for the operator."""

    deltas: tuple[Delta, ...] = ()
    events: tuple[Event, ...] = ()


def acceptance_delta(outcome: Outcome, found: Counts | Ignored, knowledge: Knowledge, now_s: float) -> Delta | None:
    """The change of the acceptance record; what cannot be used is counted by reason, aborts in the record too."""
    key = outcome.choice.key
    if key is None:
        return None
    if isinstance(found, Ignored):
        knowledge.ignored[found.reason] += 1
        aborted = {"aborted": 1.0} if found.reason == "aborted" else {}
        return Delta(key, aborted, half_life_s=HALF_LIFE_S, half_life_steps=HALF_LIFE_STEPS) if aborted else None
    believed = knowledge.curve(outcome.request, outcome.choice.engine.pool, now_s)
    fields = acceptance_fields(found, believed.h, believed.weight)
    return Delta(key, fields, found.drafting_steps, HALF_LIFE_STEPS, HALF_LIFE_S)


def cost_delta(outcome: Outcome, knowledge: Knowledge, now_s: float) -> Delta | None:
    """The change of the replica's step-time sums; None where the outcome says nothing of it."""
    seen, replica = cost.observe(outcome), outcome.choice.engine
    if seen is None:
        return None
    fields = cost.cost_fields(seen, knowledge.step_model(replica, now_s))
    key = cost.record_key(replica.pool.name, replica.name, seen.x[1])
    return Delta(key, fields, 1.0, cost.HALF_LIFE_REQUESTS, cost.HALF_LIFE_S)


def task_delta(outcome: Outcome) -> Delta:
    """Lengths of answers and aborts of the task."""
    add = {"done": 1.0, "tokens": float(outcome.output_tokens)} if outcome.finished else {"aborted": 1.0}
    return Delta(task_key(outcome.request), add, 1.0, TASK_HALF_LIFE_REQUESTS, TASK_HALF_LIFE_S)


def lessons(outcome: Outcome, knowledge: Knowledge, now_s: float) -> tuple[Delta, ...]:
    """Everything one outcome teaches about acceptance, cost and length."""
    found = outcome_counts(outcome, outcome.choice.engine.pool.k_max)
    deltas = (
        acceptance_delta(outcome, found, knowledge, now_s),
        cost_delta(outcome, knowledge, now_s),
        task_delta(outcome),
    )
    return tuple(delta for delta in deltas if delta is not None)
