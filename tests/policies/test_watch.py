"""Drift, the never-slower guard and exploration: what they notice, what they leave alone, what they cost."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from policies import cost
from policies.choice import Choice, Reason
from policies.document import Document, parse_document
from policies.event import Event
from policies.evidence import Counts, counts
from policies.explore import BUDGET_HALF_LIFE_S, budget_key
from policies.holdout import canary_fields, canary_key, guard_key, is_off, off_delta, off_s, verdict
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.learning import Lesson, learn_hold_out
from policies.mechanisms import Guard
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.records import Delta, Record, apply
from policies.replica import Pool, Replica, StepTime
from policies.request import Request

ADAPTIVE = POLICIES["adaptive"]
NOW = 1.7e9
PROBE = tuple(
    StepTime(b, k, 8 + 0.03 * b + 0.02 * b * k + (0.2 + 0.8 * k if k else 0)) for b in (1, 4, 8) for k in (0, 1, 4)
)
VANILLA, SPEC = Pool("vanilla", "m", "t@1"), Pool("spec", "m", "t@1", "d@1", "draft_model", 4)
FLEET = [Replica("v0", VANILLA, probe=PROBE), Replica("s0", SPEC, probe=PROBE)]


def teach(
    knowledge: Knowledge,
    task: str,
    h: float,
    rng: random.Random,
    now_s: float,
    step_ms: float = 12.0,
    known: float = 1.0,
) -> Lesson:
    """One finished answer of a task with acceptance h at k = 4, learnt and absorbed."""
    request = Request("m", task, temperature=0)
    accepted = []
    for _ in range(40):
        j = 0
        while j < 4 and rng.random() < h:
            j += 1
        accepted.append(j)
    key = knowledge.acceptance_key(request, SPEC, now_s)
    choice = Choice(FLEET[1], 4, Reason.FASTEST, key, 5e-3, 5e-3, 8e-3, 8e-3)
    tokens = 1 + 40 + sum(accepted)
    seconds = 40 * step_ms / 1e3
    outcome = Outcome(request, choice, tokens, seconds, 0.1, (4,) * 40, tuple(accepted), 1.0, 4, 4, known=known)
    lesson = ADAPTIVE.learn(outcome, knowledge, now_s)
    knowledge.absorb(lesson.deltas, now_s)
    return lesson


def test_a_collapse_alarms_within_a_few_answers() -> None:
    """From .75 to .45: a drift event within six answers, and the belief follows."""
    rng, knowledge = random.Random(1), Knowledge()
    for i in range(60):
        teach(knowledge, "translation", 0.75, rng, NOW + i)
    kinds = [[e.kind for e in teach(knowledge, "translation", 0.45, rng, NOW + 60 + i).events] for i in range(6)]
    assert ["drift"] in kinds
    belief = knowledge.curve(Request("m", "translation", temperature=0), SPEC, NOW + 70).h[0]
    assert belief == pytest.approx(0.45, abs=0.12)


def test_recovery_is_followed_too() -> None:
    """From .4 back to .75: twelve answers later the belief is there."""
    rng, knowledge = random.Random(2), Knowledge()
    for i in range(60):
        teach(knowledge, "translation", 0.4, rng, NOW + i)
    for i in range(12):
        teach(knowledge, "translation", 0.75, rng, NOW + 60 + i)
    belief = knowledge.curve(Request("m", "translation", temperature=0), SPEC, NOW + 73).h[0]
    assert belief == pytest.approx(0.75, abs=0.1)


def test_steady_tasks_do_not_alarm() -> None:
    """Fewer than one alarm in 5,000 steady answers."""
    rng, knowledge = random.Random(3), Knowledge()
    events = [e for i in range(2500) for e in teach(knowledge, "mathematics", 0.7, rng, NOW + i).events]
    assert not [e for e in events if e.kind == "drift"]


def test_tasks_that_drift_together_accuse_the_drafter_once() -> None:
    """Three tasks within ten minutes: one `drafter_stale`."""
    rng, knowledge = random.Random(4), Knowledge()
    events: list[Event] = []
    tasks = ("translation", "mathematics", "code_generation", "sql_generation")
    for i in range(160):
        teach(knowledge, tasks[i % 4], 0.8, rng, NOW + i)
    for i in range(60):
        events += teach(knowledge, tasks[i % 4], 0.3, rng, NOW + 160 + i).events
    assert [e.kind for e in events].count("drafter_stale") == 1
    assert [e.kind for e in events].count("drift") >= 3


def exchanged(fleet: list[Knowledge], store: dict[str, Record], lessons: list[list[Delta]], now_s: float) -> None:
    """Every router's deltas reach the store, and everybody reads it."""
    for delta in (delta for deltas in lessons for delta in deltas):
        store[delta.key] = apply(store.get(delta.key, Record()), delta, now_s)
    for knowledge in fleet:
        knowledge.install(store, now_s)


def fleet_of(routers: int, h: Sequence[float], each: int = 4) -> list[list[Event]]:
    """Drift events of every second in which each router teaches `each` answers of one task, before they exchange."""
    fleet, store, rng = [Knowledge() for _ in range(routers)], dict[str, Record](), random.Random(7)
    found: list[list[Event]] = []
    for second, now in enumerate(h):
        lessons = [
            [teach(knowledge, "translation", now, rng, NOW + second, known=1 / routers) for _ in range(each)]
            for knowledge in fleet
        ]
        exchanged(fleet, store, [[d for one in own for d in one.deltas] for own in lessons], NOW + second + 1)
        found.append([e for own in lessons for one in own for e in one.events if e.kind == "drift"])
    return found


def test_routers_that_start_from_one_prior_do_not_take_its_error_for_a_drift() -> None:
    """Thirty routers whose copies are a second old, at a task far below its prior: no alarm."""
    assert not any(fleet_of(30, [0.5] * 6))


def test_a_collapse_that_many_routers_notice_is_one_happening() -> None:
    """All raise the alarm, each at once, and all call it by one name; afterwards there is none."""
    before, fall, *after = fleet_of(12, [0.75, 0.75, 0.75, 0.75, 0.25, 0.25, 0.25, 0.25], each=8)[3:]
    assert not before
    assert len(fall) >= 6
    assert len({event.once for event in fall}) == 1
    assert not any(after)


def test_a_router_alone_shares_its_belief_with_nobody() -> None:
    """Nothing is beside its answers; of others it supposes as many as its share says, or as it last heard of."""
    knowledge, rng, request = Knowledge(), random.Random(8), Request("m", "translation", temperature=0)
    key = knowledge.acceptance_key(request, SPEC, NOW)
    for _ in range(2):
        teach(knowledge, "translation", 0.7, rng, NOW)
    assert knowledge.beside(key, 1.0) == 0
    assert knowledge.beside(key, 0.25) == pytest.approx(9)
    record = knowledge.record(key)
    knowledge.install({key: replace(record, fields={**record.fields, "+told": 7.0})}, NOW)
    assert knowledge.beside(key, 0.25) == pytest.approx(3)
    assert knowledge.beside(key, 0.1) == pytest.approx(5)


def test_a_replica_that_turns_slow_is_told_and_relearnt() -> None:
    """Steps twice as long: `replica_slow`, and predictions double within thirty answers."""
    rng, knowledge = random.Random(5), Knowledge()
    events: list[Event] = []
    for i in range(60):
        teach(knowledge, "translation", 0.7, rng, NOW + i)
    before = knowledge.step_model(FLEET[1], NOW + 60).step_s(cost.row(1, 4, 4, 0))
    for i in range(30):
        events += teach(knowledge, "translation", 0.7, rng, NOW + 60 + i, step_ms=24.0).events
    after = knowledge.step_model(FLEET[1], NOW + 91).step_s(cost.row(1, 4, 4, 0))
    assert "replica_slow" in [e.kind for e in events]
    assert after == pytest.approx(2 * before, rel=0.15)


def hold_out(knowledge: Knowledge, slower: float, rng: random.Random, n: int) -> list[str]:
    """n answers, one in ten held out on vanilla; speculation takes `slower` times vanilla's time per token."""
    kinds: list[str] = []
    request = Request("m", "translation", temperature=0)
    for i in range(n):
        held = i % 10 == 0
        reason, replica = (Reason.HOLD_OUT, FLEET[0]) if held else (Reason.FASTEST, FLEET[1])
        choice = Choice(replica, 0 if held else 2, reason, None, 5e-3, 5e-3, 8e-3, 8e-3)
        tpot = 8e-3 * (1 if held else slower) * math.exp(rng.gauss(0, 0.2))
        lesson = ADAPTIVE.learn(Outcome(request, choice, 101, 100 * tpot, 0.1), knowledge, NOW + i)
        knowledge.absorb(lesson.deltas, NOW + i)
        kinds += [e.kind for e in lesson.events]
    return kinds


def test_the_guard_trips_when_speculation_is_slower_whatever_the_model_says() -> None:
    """30 % slower than its hold-out: off, an event, and decisions go to vanilla with the reason."""
    knowledge = Knowledge()
    assert "guard_tripped" in hold_out(knowledge, 1.3, random.Random(6), 600)
    request = Request("m", "translation", temperature=0)
    now_s = knowledge.record(guard_key(request)).fields["+since"] + 1
    choice = ADAPTIVE.decide(request, FLEET, knowledge, now_s, 0.5)
    assert (choice.k, choice.reason) == (0, Reason.GUARD)


def test_the_guard_leaves_faster_speculation_alone() -> None:
    """Never in fifty runs of 400 answers, read after every one."""
    for seed in range(50):
        assert hold_out(Knowledge(), 0.95, random.Random(seed), 400) == []


def test_an_interval_that_may_be_read_at_any_time() -> None:
    """With no difference at all, at most a few of a hundred runs ever exclude it."""
    wrong = 0
    for seed in range(100):
        rng, fields = random.Random(seed), dict.fromkeys(("n0", "y0", "q0", "n1", "y1", "q1"), 0.0)
        for i in range(400):
            arm, y = "0" if i % 4 == 0 else "1", rng.gauss(0, 0.3)
            for name, value in ((f"n{arm}", 1.0), (f"y{arm}", y), (f"q{arm}", y * y)):
                fields[name] += value
            found = verdict(fields, Guard())
            if found is not None and i > 20 and found.low > 0:
                wrong += 1
                break
    assert wrong <= 8


def test_each_trip_lasts_twice_as_long_up_to_a_limit() -> None:
    """Ten minutes, twenty, … two hours; ten again after a long quiet."""
    rules = Guard()
    assert off_s({}, rules, NOW) == 600
    assert off_s({"+since": NOW - 700, "+until": NOW - 100}, rules, NOW) == 1200
    assert off_s({"+since": NOW - 7300, "+until": NOW - 100}, rules, NOW) == 7200
    assert off_s({"+since": NOW - 90_000, "+until": NOW - 89_000}, rules, NOW) == 600
    assert is_off({"+since": NOW - 9, "+until": NOW + 1}, NOW)
    assert not is_off({"+since": NOW - 9, "+until": NOW - 1}, NOW)


MONTH_S = 30 * 86_400.0


def test_a_clock_that_ran_ahead_does_not_keep_a_task_off() -> None:
    """A trip from a month ahead is not believed, nor lengthens the next; a minute ahead may be how clocks differ."""
    ahead = {"+since": NOW + MONTH_S, "+until": NOW + MONTH_S + 1200}
    assert not is_off(ahead, NOW)
    assert off_s(ahead, Guard(), NOW) == 600
    assert is_off({"+since": NOW + 50, "+until": NOW + 650}, NOW)


def test_the_next_trip_takes_the_place_of_one_from_a_wrong_clock() -> None:
    """Else no trip would be believed until that time has come."""
    knowledge, request = Knowledge(), Request("m", "translation", temperature=0)
    knowledge.absorb([off_delta(request, Record(), 600, NOW + MONTH_S)], NOW)
    assert "guard_tripped" in hold_out(knowledge, 1.3, random.Random(6), 600)
    fields = knowledge.record(guard_key(request)).fields
    assert fields["+until"] - fields["+since"] == 600
    assert is_off(fields, fields["+since"])


def test_of_routers_that_trip_together_the_first_is_heard() -> None:
    """Their times do not add up."""
    request = Request("m", "translation", temperature=0)
    record = apply(Record(), off_delta(request, Record(), 600, NOW), NOW)
    assert apply(record, off_delta(request, Record(), 600, NOW + 1), NOW + 1).fields == record.fields
    again = apply(record, off_delta(request, record, 1200, NOW + 900), NOW + 900)
    assert again.fields == {"+since": NOW + 900, "+until": NOW + 2100}


def parked() -> Knowledge:
    """A task whose acceptance is known to be poor, so that it is parked on vanilla."""
    knowledge = Knowledge(Document())
    fields = {f"s{i}": 10.0 for i in range(1, 5)} | {f"e{i}": 200.0 for i in range(1, 5)}
    key = Key("t@1", "d@1", "creative_writing", "default", "0").encode()
    knowledge.install({key: Record(fields | {"n": 8.0, "vv": 8.0, "vb": 8.0, "ee": 5000.0}, NOW)}, NOW)
    knowledge.absorb([Delta(budget_key(Request("m")), {"served": 1e5}, half_life_s=BUDGET_HALF_LIFE_S)], NOW)
    return knowledge


def explored(knowledge: Knowledge, fleet: list[Replica], n: int = 2000) -> int:
    """How many of n decisions tried speculation."""
    request = Request("m", "creative_writing", temperature=0)
    choices = (ADAPTIVE.decide(request, fleet, knowledge, NOW, (i + 0.5) / n) for i in range(n))
    return sum(choice.reason == Reason.EXPLORE for choice in choices)


def test_parked_tasks_are_tried_now_and_then() -> None:
    """More than never, at most two in a hundred."""
    assert 0 < explored(parked(), FLEET) <= 40


def test_nothing_is_tried_under_load_or_beyond_the_budget() -> None:
    """Over half of the places taken, or the budget spent."""
    busy = [Replica(r.name, r.pool, running=200, probe=PROBE) for r in FLEET]
    assert explored(parked(), busy) == 0
    spent = parked()
    spent.absorb([Delta(budget_key(Request("m")), {"excess": 1e5}, half_life_s=BUDGET_HALF_LIFE_S)], NOW)
    assert explored(spent, FLEET) == 0


def test_drift_grants_probes_to_a_parked_task() -> None:
    """After an alarm half of the draws probe until the probes are used up."""
    knowledge, request = parked(), Request("m", "creative_writing", temperature=0)
    knowledge.absorb([Delta(knowledge.acceptance_key(request, SPEC, NOW), {"+boost": 2.0})], NOW)
    assert ADAPTIVE.decide(request, FLEET, knowledge, NOW, 0.3).reason == Reason.PROBE
    rng = random.Random(1)
    for _ in range(2):
        choice = ADAPTIVE.decide(request, FLEET, knowledge, NOW, 0.3)
        steps = tuple(rng.randint(0, 1) for _ in range(20))
        outcome = Outcome(request, choice, 21 + sum(steps), 0.3, 0.1, (choice.k,) * 20, steps)
        knowledge.absorb(ADAPTIVE.learn(outcome, knowledge, NOW).deltas, NOW)
    assert ADAPTIVE.decide(request, FLEET, knowledge, NOW, 0.3).reason != Reason.PROBE


def test_speculative_choices_are_held_out_within_budget() -> None:
    """A sure task keeps a hold-out, rarer the more it would cost."""
    knowledge = Knowledge(parse_document({"exploration": {"enabled": False}}))
    request = Request("m", "sql_generation", temperature=0)
    reasons = [ADAPTIVE.decide(request, FLEET, knowledge, NOW, (i + 0.5) / 5000).reason for i in range(5000)]
    assert 0 < reasons.count(Reason.HOLD_OUT) <= 100


def test_aborts_are_counted_and_teach_nothing_else() -> None:
    """An aborted stream leaves acceptance and costs as they were."""
    knowledge, request = Knowledge(), Request("m", "translation", temperature=0)
    choice = ADAPTIVE.decide(request, FLEET[1:], knowledge, NOW, 0.5)
    knowledge.absorb(ADAPTIVE.learn(Outcome(request, choice, finished=False), knowledge, NOW).deltas, NOW)
    assert choice.key is not None
    assert knowledge.record(choice.key).fields == {"aborted": 1.0}
    assert knowledge.ignored["aborted"] == 1
    assert canary_key(request) not in knowledge.records


def test_a_drafter_whose_k_changed_is_ignored_and_counted() -> None:
    """Six drafts from a drafter of four: no table is touched."""
    knowledge, request = Knowledge(), Request("m", "translation", temperature=0)
    key = knowledge.acceptance_key(request, SPEC, NOW)
    outcome = Outcome(request, Choice(FLEET[1], 4, Reason.FASTEST, key), 50, 1.0, 0.1, (6,) * 10, (2,) * 10)
    lesson = ADAPTIVE.learn(outcome, knowledge, NOW)
    assert key not in [delta.key for delta in lesson.deltas]
    assert knowledge.ignored["k_changed"] == 1


def test_counts_of_an_empty_answer() -> None:
    """Nothing drafted, nothing exposed."""
    found = counts([], [], 1, 4)
    assert isinstance(found, Counts)
    assert sum(found.e) == 0


def test_an_answer_without_any_proposal_lowers_coverage() -> None:
    """A lookup drafter that found nothing in 200 steps: less is expected of it, its acceptance is untouched."""
    lookup = Pool("lookup", "m", "t@1", None, "ngram", 4)
    knowledge, request = Knowledge(), Request("m", "translation", temperature=0)
    replica = Replica("n0", lookup, probe=PROBE)
    before = knowledge.curve(request, lookup, NOW)
    choice = Choice(replica, 2, Reason.FASTEST, knowledge.acceptance_key(request, lookup, NOW))
    knowledge.absorb(ADAPTIVE.learn(Outcome(request, choice, 201, 2.0, 0.1), knowledge, NOW).deltas, NOW)
    after = knowledge.curve(request, lookup, NOW)
    assert after.coverage < 0.2
    assert after.expected[2] < before.expected[2]
    assert after.h == before.h


def test_only_what_the_draw_held_out_is_the_hold_out() -> None:
    """A class whose habit is vanilla was not drawn at random: its answers must not pass for the hold-out's."""
    request = Request("m", "sql_generation", temperature=0)

    def fields(k: int, reason: Reason) -> set[str]:
        choice = Choice(FLEET[1 if k else 0], k, reason, None, 8e-3, 8e-3, 8e-3, 8e-3)
        return set(canary_fields(Outcome(request, choice, 50, 0.5, 0.1, (k,) * 20 if k else ())))

    assert "n0" in fields(0, Reason.HOLD_OUT)
    assert "n1" in fields(2, Reason.FASTEST) & fields(2, Reason.HELD)
    assert not fields(0, Reason.HELD) | fields(0, Reason.FASTEST) | fields(2, Reason.EXPLORE)


def test_replicas_that_are_gone_are_forgotten() -> None:
    """A pool whose replicas come and go for weeks must not fit a model over all that it ever had."""
    knowledge = Knowledge()
    for number in range(50):
        knowledge.step_model(replace(FLEET[1], name=f"s{number}"), NOW + 600 * number)
    assert {f"s{number}" for number in range(44, 50)} <= set(knowledge._models) <= {f"s{n}" for n in range(42, 50)}
    assert set(knowledge._models) - {"s49"}, "those asked of within the hour stay"


def test_an_answer_whose_steps_are_not_told_teaches_its_length_and_time_alone() -> None:
    """Not what was accepted, nor the time of a step: but the task's length, and whether speculation was slower."""
    request, knowledge = Request("m", "translation", temperature=0), Knowledge()
    key = knowledge.acceptance_key(request, SPEC, NOW)
    choice = Choice(FLEET[1], 4, Reason.FASTEST, key, 5e-3, 5e-3, 8e-3, 8e-3)
    lesson = ADAPTIVE.learn(Outcome(request, choice, 101, 1.0, 0.1, told=False), knowledge, NOW)
    assert {delta.key.split(":")[0] for delta in lesson.deltas} == {"task", "canary"}
    told = ADAPTIVE.learn(Outcome(request, choice, 101, 1.0, 0.1), knowledge, NOW)
    assert {delta.key.split(":")[0] for delta in told.deltas} == {"task", "canary", "acc", "step", "revision"}


def test_an_answer_longer_than_its_engine_s_context_teaches_nothing() -> None:
    """One that claims 10¹² tokens would be a task's expected length, and all of its budget, for days."""
    request, knowledge = Request("m", "translation", temperature=0), Knowledge()
    for replica, tokens in ((FLEET[1], 10**12), (replace(FLEET[1], pool=replace(SPEC, max_context_tokens=4096)), 4097)):
        outcome = Outcome(request, Choice(replica, 4, Reason.FASTEST), tokens, 1.0)
        assert ADAPTIVE.learn(outcome, knowledge, NOW).deltas == ()
        assert ADAPTIVE.learn(replace(outcome, output_tokens=4096), knowledge, NOW).deltas
    assert knowledge.ignored["length_impossible"] == 2


@pytest.mark.parametrize(("slower", "rate_s"), [(1.1, 0.2), (1.25, 0.05)])
def test_the_guard_sees_a_modest_slowdown_where_requests_are_few(slower: float, rate_s: float) -> None:
    """A tenth at one request in five seconds, a quarter at one in twenty, each within two days of a 2 % hold-out."""
    rng, knowledge = random.Random(7), Knowledge()
    request, now_s = Request("m", "translation", temperature=0), NOW
    while (now_s := now_s + rng.expovariate(rate_s)) < NOW + 2 * 86_400:
        held = rng.random() < 0.02
        reason, replica = (Reason.HOLD_OUT, FLEET[0]) if held else (Reason.FASTEST, FLEET[1])
        choice = Choice(replica, 0 if held else 2, reason, None, 5e-3, 5e-3, 8e-3, 8e-3)
        tpot = 8e-3 * (1 if held else slower) * math.exp(rng.gauss(0, 0.25))
        lesson = learn_hold_out(Outcome(request, choice, 101, 100 * tpot, 0.1), knowledge, now_s)
        knowledge.absorb(lesson.deltas, now_s)
        if lesson.events:
            return
    raise AssertionError("it never tripped")
