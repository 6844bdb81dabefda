"""From an outcome to the changes of the shared records and to events."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from policies import cost, drift, holdout
from policies.choice import Reason
from policies.doubt import certainty, doubt_fields
from policies.event import Event
from policies.evidence import HALF_LIFE_S, HALF_LIFE_STEPS, Counts, Ignored, acceptance_fields, outcome_counts
from policies.explore import BUDGET_HALF_LIFE_S, budget_fields, budget_key
from policies.inheritance import met_delta
from policies.keys import decode_key
from policies.knowledge import TOLD, Knowledge, task_key
from policies.outcome import Outcome
from policies.quick import quick
from policies.records import Delta, Shrink

TASK_HALF_LIFE_S = 6 * 3600.0
TASK_HALF_LIFE_REQUESTS = 500.0


@quick
@dataclass(frozen=True, slots=True)
class Lesson:
    """What one outcome teaches: deltas for the shared records in order, and events for the operator."""

    deltas: tuple[Delta, ...] = ()
    events: tuple[Event, ...] = ()


def joined(*lessons: Lesson) -> Lesson:
    """Several lessons as one."""
    return Lesson(
        tuple(delta for lesson in lessons for delta in lesson.deltas),
        tuple(event for lesson in lessons for event in lesson.events),
    )


def learn_all(outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
    """Everything one outcome teaches: acceptance, step time, length, exploration's cost, the hold-out."""
    if _impossible(outcome, knowledge):
        return Lesson()
    return joined(
        learn_acceptance(outcome, knowledge, now_s),
        learn_cost(outcome, knowledge, now_s),
        Lesson((task_delta(outcome, knowledge),)),
        learn_budget(outcome),
        learn_hold_out(outcome, knowledge, now_s),
    )


def learn_basics(outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
    """What every policy learns, so that any can take over with warm records; no drift, no hold-out."""
    if _impossible(outcome, knowledge):
        return Lesson()
    found = outcome_counts(outcome, outcome.choice.engine.pool.k_max)
    taught = _acceptance(outcome, found, knowledge, False, now_s)
    return joined(taught, learn_cost(outcome, knowledge, now_s), Lesson((task_delta(outcome, knowledge),)))


LONGEST_TOKENS = 2**20
"""No answer is longer, where the pool's context is not known."""


def _impossible(outcome: Outcome, knowledge: Knowledge) -> bool:
    """Count, and leave out, an answer that claims more tokens than its engine's context has: one would outweigh all."""
    most = outcome.choice.engine.pool.max_context_tokens or LONGEST_TOKENS
    if not outcome.finished or outcome.output_tokens <= most:
        return False
    knowledge.ignored["length_impossible"] += 1
    return True


def learn_acceptance(outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
    """The change of the acceptance record, and what a drift alarm does."""
    found = outcome_counts(outcome, outcome.choice.engine.pool.k_max)
    return _acceptance(outcome, found, knowledge, knowledge.document.drift.enabled, now_s)


def _acceptance(outcome: Outcome, found: Counts | Ignored, knowledge: Knowledge, watch: bool, now_s: float) -> Lesson:
    key = outcome.choice.key
    if key is None or (outcome.finished and not outcome.told):
        return Lesson()
    if isinstance(found, Ignored):
        knowledge.ignored[found.reason] += 1
        aborted = Delta(key, {"aborted": 1.0}, half_life_s=HALF_LIFE_S, half_life_steps=HALF_LIFE_STEPS)
        return Lesson((aborted,) if found.reason == "aborted" else ())
    believed = knowledge.curve(outcome.request, outcome.choice.engine.pool, now_s)
    if not believed.h:
        return Lesson()
    sure = certainty(outcome.request, knowledge)
    fields = {name: sure * value for name, value in acceptance_fields(found, believed.h, believed.weight).items()}
    if outcome.choice.reason == Reason.PROBE:
        fields["+boost"] = -1.0
    alarm = Lesson()
    if watch and sure > SURE:
        rules = knowledge.document.drift
        beside = knowledge.beside(key, outcome.known)
        sums = drift.cusum_fields(drift.residual(found, believed, beside), rules)
        fields |= sums
        if drift.alarmed(knowledge.record(key), sums, rules):
            alarm = _drifted(key, believed.h[0], found, knowledge, now_s)
            fields = _echoed(fields, sums)
    fields[TOLD] = 1.0
    epoch = knowledge.record(key).epoch
    taught = Delta(key, fields, sure * found.steps, HALF_LIFE_STEPS, HALF_LIFE_S, epoch=epoch)
    return joined(_changed_revision(key, knowledge, now_s), alarm, Lesson((taught,)))


def _changed_revision(text: str, knowledge: Knowledge, now_s: float) -> Lesson:
    """Note when a target and drafter first taught at these revisions; tell where they go by earlier ones."""
    key = decode_key(text)
    pair = (key.target, key.drafter)
    if knowledge.met(pair, now_s):
        return Lesson()
    before = knowledge.predecessor(pair, now_s)
    events = () if before is None else (drift.revision_event(key, before, now_s),)
    return Lesson((met_delta(pair, now_s),), events)


SURE = 0.5
"""Least weight of an answer that may raise an alarm: one of another task looks like a change of this one."""


ECHO = 2.0
"""Times that the answer which raised the alarm counts: those before it told of the change too, and were forgotten with
what was before them."""


def _echoed(fields: Mapping[str, float], sums: Mapping[str, float]) -> dict[str, float]:
    """The evidence of the alarming answer, drafts counted `ECHO` times, without the sums that raised the alarm."""
    drafts = {name: ECHO * value for name, value in fields.items() if name[0] in "se" and name[1:].isdigit()}
    return {name: value for name, value in fields.items() if name not in sums} | drafts


def _drifted(text: str, before: float, found: Counts, knowledge: Knowledge, now_s: float) -> Lesson:
    """Forget, probe, tell; and tell once more where the drafter's other tasks drifted too."""
    key, rules = decode_key(text), knowledge.document.drift
    stale = drift.stale(key, knowledge.record(drift.drafter_key(key)), rules, now_s)
    deltas = (drift.forget(text, knowledge.record(text), rules), drift.drafter_delta(key, stale is not None, now_s))
    event = drift.drift_event(key, knowledge.record(text).epoch, before, found, now_s)
    return Lesson(deltas, (event,) if stale is None else (event, stale))


def learn_cost(outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
    """The change of the replica's step-time sums; a replica that changed for good is forgotten and, if slower, told
    of."""
    seen, replica = cost.observe(outcome) if outcome.told else None, outcome.choice.engine
    if seen is None:
        return Lesson()
    model, rules = knowledge.step_model(replica, now_s), knowledge.document.drift
    key = cost.record_key(replica.pool.name, replica.name, seen.x[1])
    record, error = knowledge.record(key), seen.step_s / max(model.step_s(seen.x), 1e-6) - 1
    taught = Delta(key, cost.cost_fields(seen, model), 1.0, cost.HALF_LIFE_REQUESTS, cost.HALF_LIFE_S)
    if not rules.enabled or model.weight < drift.SURE_ROWS:
        return Lesson((taught,))
    sums = drift.cusum_fields(drift.cost_residual(error, model.noise), rules)
    if not drift.alarmed(record, sums, rules):
        return Lesson((replace(taught, add={**taught.add, **sums}, epoch=record.epoch),))
    held = {name: knowledge.record(name) for name in cost.record_keys(replica.pool.name, replica.name)}
    forget = []
    for name, old in held.items():
        if old.fields:
            scale = min(1.0, drift.KEEP_ROWS / max(old.fields.get("w", 0.0), 1e-9))
            forget.append(Delta(name, {}, shrink=Shrink(old.epoch, scale)))
    epochs = [old.epoch for old in held.values()]
    events = (drift.slow_event(replica.name, epochs, error, now_s),) if error > 0 else ()
    return Lesson((*forget, taught), events)


def task_delta(outcome: Outcome, knowledge: Knowledge) -> Delta:
    """Lengths of answers and aborts of the task, and how sure the classifier was of it.

    An answer that its limit cut off is censored: it adds its tokens and no end, so that tokens over ends stays the mean
    length (the maximum-likelihood one for geometric lengths) instead of that of the limits clients happened to set.
    """
    request, tokens = outcome.request, max(0, outcome.output_tokens)
    cut = request.max_tokens is not None and tokens >= request.max_tokens
    add = {"done": float(not cut), "tokens": float(tokens)} if outcome.finished else {"aborted": 1.0}
    add |= doubt_fields(request, certainty(request, knowledge))
    return Delta(task_key(request), add, 1.0, TASK_HALF_LIFE_REQUESTS, TASK_HALF_LIFE_S)


def learn_budget(outcome: Outcome) -> Lesson:
    """What exploring cost and what it is measured against."""
    if not outcome.finished or not outcome.choice.scores:
        return Lesson()
    return Lesson((Delta(budget_key(outcome.request), budget_fields(outcome), half_life_s=BUDGET_HALF_LIFE_S),))


def learn_hold_out(outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
    """The hold-out's sums, and the guard where speculation is surely slower."""
    rules, request = knowledge.document.guard, outcome.request
    fields = holdout.canary_fields(outcome) if rules.enabled else {}
    if not fields:
        return Lesson()
    key, state = holdout.canary_key(request), knowledge.record(holdout.guard_key(request))
    record = knowledge.record(key)
    taught = Delta(key, fields, half_life_s=holdout.HALF_LIFE_S)
    found = holdout.verdict(record.fields, rules)
    if found is None or not holdout.tripped(found, state.fields, now_s):
        return Lesson((taught,))
    seconds = holdout.off_s(state.fields, rules, now_s)
    off = holdout.off_delta(request, state, seconds, now_s)
    # The arms start afresh after the pause: what they say now is what it is for.
    restart = Delta(key, {}, shrink=Shrink(record.epoch, 0.0))
    return Lesson((off, restart), (holdout.guard_event(request, found, record.epoch, seconds, now_s),))
