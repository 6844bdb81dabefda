"""What is not certain: the task of a request, a drafter never seen, priors that an operator changes."""

from dataclasses import replace

import pytest

from policies.cells import demand, drafts_of, mixed, score_of
from policies.choice import Choice, Reason
from policies.document import parse_document
from policies.doubt import certainty, shares
from policies.estimator import NOTHING, curve
from policies.explore import budget_key
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.learning import learn_acceptance, task_delta
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.records import EMPTY, Record
from policies.replica import Pool, Replica, StepTime
from policies.request import Request
from policies.terms import Range

NOW = 1.7e9
SPEC = Pool("spec", "m", "t@1", "d@1", "draft_model", 4)
PROBE = tuple(
    StepTime(b, k, 8 + 0.03 * b + 0.02 * b * k + (0.2 + 0.8 * k if k else 0)) for b in (1, 4, 8) for k in (0, 1, 4)
)
FLEET = [Replica("v0", Pool("vanilla", "m", "t@1"), probe=PROBE), Replica("s0", SPEC, probe=PROBE)]
SQL, STORY = "sql_generation", "creative_writing"


def knowing(weight: float = 5000.0, **tasks: float) -> Knowledge:
    """Knowledge with these acceptances behind `weight` drafts, without trials or hold-outs."""
    knowledge = Knowledge(parse_document({"exploration": {"enabled": False}, "guard": {"enabled": False}}))
    for task, h in tasks.items():
        fields = {f"s{i}": weight * h for i in range(1, 5)} | {f"e{i}": weight for i in range(1, 5)}
        key = Key("t@1", "d@1", task, "default", "0").encode()
        knowledge.install({key: Record(fields | {"n": 100.0, "vv": 100.0, "vb": 100.0, "ee": 1e6}, NOW)}, NOW)
    return knowledge


def doubted(task: str, confidence: float, other: str) -> Request:
    """A request that may be of another task."""
    likely = ((task, confidence), (other, 1 - confidence))
    return Request("m", task, confidence, temperature=0, likely=likely)


def answer(request: Request, knowledge: Knowledge, accepted: int = 0) -> Outcome:
    """An answer of forty steps at k = 4."""
    choice = Choice(FLEET[1], 4, Reason.FASTEST, knowledge.acceptance_key(request, SPEC, NOW), 5e-3, 5e-3)
    return Outcome(request, choice, 41 + 40 * accepted, 0.5, 0.1, (4,) * 40, (accepted,) * 40, 1.0, 4, 4)


def test_a_doubtful_request_drafts_less_than_its_label_and_more_than_its_second_task() -> None:
    """Steps per token are averaged over the tasks that it may be."""
    knowledge, adaptive = knowing(sql_generation=0.95, creative_writing=0.3), POLICIES["adaptive"]
    ks = [
        adaptive.decide(request, FLEET, knowledge, NOW, 0.5).k
        for request in (
            Request("m", SQL, temperature=0),
            doubted(SQL, 0.6, STORY),
            Request("m", STORY, temperature=0),
        )
    ]
    assert ks[0] > ks[1] > ks[2]


def test_a_mixture_is_of_times_not_of_tokens() -> None:
    """Half of 1/E of either task, which is more than 1 over the mean E."""
    knowledge = knowing(sql_generation=0.95, creative_writing=0.3)
    sql, story = Request("m", SQL, temperature=0), Request("m", STORY, temperature=0)
    asked = demand(sql, 100.0, 1.0)
    parts = [drafts_of(knowledge.curve(request, SPEC, NOW), asked) for request in (sql, story)]
    both = mixed([(0.4, parts[0]), (0.4, parts[1])])
    assert both.per_token[4] == pytest.approx((parts[0].per_token[4] + parts[1].per_token[4]) / 2)
    assert both.per_token[4] > 2 / (1 / parts[0].per_token[4] + 1 / parts[1].per_token[4])


def test_a_label_without_doubt_decides_and_teaches_as_before() -> None:
    """One likely task is no mixture, and a low confidence alone (`other`) no reason to learn less."""
    knowledge = knowing(sql_generation=0.9)
    plain = Request("m", SQL, 0.4, temperature=0)
    alone = replace(plain, likely=((SQL, 1.0),))
    lessons = [learn_acceptance(answer(request, knowledge), knowledge, NOW) for request in (plain, alone)]
    assert lessons[0] == lessons[1]
    assert lessons[0].deltas[-1].add["n"] == 1.0


def test_doubtful_answers_teach_little_and_raise_no_alarm() -> None:
    """At .6 an answer counts .13; twenty that would be a collapse of the label's task are none."""
    knowledge = knowing(sql_generation=0.95)
    request = doubted(SQL, 0.6, STORY)
    lesson = learn_acceptance(answer(request, knowledge), knowledge, NOW)
    assert lesson.deltas[-1].add["e1"] == pytest.approx(40 * 0.6**4)
    assert lesson.deltas[-1].steps == pytest.approx(40 * 0.6**4)
    for _ in range(20):
        lesson = learn_acceptance(answer(request, knowledge), knowledge, NOW)
        knowledge.absorb(lesson.deltas, NOW)
        assert lesson.events == ()


@pytest.mark.parametrize(("usual", "least", "most"), [(0.44, 0.8, 1.0), (1.0, 0.44**4, 0.05)])
def test_doubt_counts_against_how_sure_the_label_usually_is(usual: float, least: float, most: float) -> None:
    """A task whose every prompt is doubtful is learnt; among sure ones the same answer weighs next to nothing."""
    knowledge, request = knowing(), doubted(SQL, 0.44, STORY)
    before = request if usual < 1 else replace(request, confidence=1.0, likely=())
    for _ in range(30):
        knowledge.absorb((task_delta(answer(before, knowledge), knowledge),), NOW)
    assert least <= certainty(request, knowledge) <= most


@pytest.mark.parametrize(("usual", "own"), [(0.44, 1.0), (0.88, 0.5), (1.0, 0.44)])
def test_a_record_speaks_for_requests_as_doubtful_as_those_that_it_was_learnt_from(usual: float, own: float) -> None:
    """A doubt that the record holds already is not counted again; the others share what is left as they were likely."""
    knowledge, tasks = knowing(), (SQL, STORY, "mathematics")
    before = Request("m", SQL, usual, temperature=0, likely=((SQL, usual), (STORY, 1 - usual)))
    for _ in range(300):
        knowledge.absorb((task_delta(answer(before, knowledge), knowledge),), NOW)
    request = replace(before, confidence=0.44, likely=tuple(zip(tasks, (0.44, 0.42, 0.14), strict=True)))
    found = {one.task: share for share, one in shares(request, knowledge)}
    assert found[SQL] == pytest.approx(own, abs=0.02)
    assert sum(found.values()) == pytest.approx(1)
    assert found.get(STORY, 0.0) == pytest.approx(3 * found.get("mathematics", 0.0))


def test_without_evidence_a_request_is_what_the_classifier_holds_it_for() -> None:
    """And nothing else where there is no doubt."""
    request = doubted(SQL, 0.6, STORY)
    assert [(share, one.task) for share, one in shares(request, knowing())] == [(0.6, SQL), (pytest.approx(0.4), STORY)]
    assert shares(Request("m", SQL, 0.6), knowing()) == []


def test_one_odd_answer_does_not_outweigh_a_task_at_other_temperatures() -> None:
    """Forty steps of which five landed, the first at this temperature, and then eight such: one is an accident."""
    knowledge = knowing(weight=300.0, sql_generation=0.8)
    warm, key = Request("m", SQL, temperature=1.0), Key("t@1", "d@1", SQL, "default", "high").encode()

    def first(answers: int) -> float:
        fields = {"s1": 5.0, "e1": 40.0, "s2": 1.0, "e2": 5.0, "n": 1.0}
        knowledge.install({key: Record({name: answers * value for name, value in fields.items()}, NOW)}, NOW)
        return knowledge.curve(warm, SPEC, NOW).h[0]

    assert first(1) > 0.5
    assert first(8) < 0.25


def test_a_drafter_never_seen_is_trusted_less_with_others_time() -> None:
    """The careful curve is below the own one until the drafter's other tasks have told how far it is off."""
    request = Request("m", SQL, temperature=0)
    unseen = knowing().curve(request, SPEC, NOW)
    others = knowing(mathematics=0.8, translation=0.7, summarization=0.7).curve(request, SPEC, NOW)
    seen = knowing(sql_generation=0.9).curve(request, SPEC, NOW)
    gaps = [curve.careful[4] / curve.inverse[4] - 1 for curve in (unseen, others, seen)]
    assert gaps[0] > 1.5 * gaps[1] > 0
    assert gaps[2] == pytest.approx(0, abs=0.01)


def test_a_task_never_tried_is_no_reason_for_care_where_its_drafter_is_known() -> None:
    """Care is for the drafter as a whole: without doubt of it, a task without evidence is decided as expected."""
    known = curve((0.8, 0.78, 0.76), EMPTY, NOTHING, lookup=False, unsure=0.0)
    unsure = curve((0.8, 0.78, 0.76), EMPTY, NOTHING, lookup=False, unsure=0.5)
    assert known.careful == known.inverse
    assert known.noise[3] > 0.05
    assert unsure.careful[3] > unsure.inverse[3]


def test_alone_a_request_goes_by_expectation_and_in_company_with_care() -> None:
    """A drafter never seen is tried deeper where nobody else pays for it."""
    knowledge, request = knowing(), Request("m", SQL, temperature=0)
    asked = demand(request, 100.0, 1.0)
    drafts = drafts_of(knowledge.curve(request, SPEC, NOW), asked)
    assert drafts.careful[4] > 1.1 * drafts.per_token[4]
    for running, believed in ((0, drafts.per_token), (1, drafts.careful)):
        replica = Replica("r", SPEC, running=running)
        load = knowledge.load(replica, asked.harm, NOW)
        score = score_of(asked, replica, load, drafts, Range(0, 4))
        assert score.u_s == pytest.approx([cost * steps for cost, steps in zip(load.cost_s, believed, strict=True)])


def test_what_is_known_of_one_position_says_something_of_the_next() -> None:
    """With the first two certain, four drafts are less of a risk than with nothing known."""
    knowledge = knowing()
    fields = {name: 5000.0 * (0.9 if name[0] == "s" else 1) for name in ("s1", "s2", "e1", "e2")}
    key = Key("t@1", "d@1", SQL, "default", "0").encode()
    request = Request("m", SQL, temperature=0)
    before = knowledge.curve(request, SPEC, NOW).noise[4]
    knowledge.install({key: Record(fields | {"n": 100.0, "vv": 100.0, "vb": 100.0, "ee": 1e6}, NOW)}, NOW)
    assert knowledge.curve(request, SPEC, NOW).noise[4] < 0.5 * before


def test_an_adopted_document_reaches_beliefs_already_formed() -> None:
    """A task's own prior at once, and what its other tasks make of the drafter's too."""
    knowledge = knowing(mathematics=0.8)
    sql, story = Request("m", SQL, temperature=0), Request("m", STORY, temperature=0)
    before = [knowledge.curve(request, SPEC, NOW).h[0] for request in (sql, story)]
    tasks = {SQL: {"acceptance": 0.2}, "mathematics": {"acceptance": 0.95}}
    knowledge.adopt(parse_document({"tasks": tasks}))
    after = [knowledge.curve(request, SPEC, NOW).h[0] for request in (sql, story)]
    assert after[0] < 0.3 < before[0]
    assert after[1] < before[1] - 0.02  # mathematics is now worse than its prior, so the drafter is


def test_probes_after_an_alarm_stay_within_the_budget() -> None:
    """A parked task probes at every other draw until what exploring may cost is spent."""
    knowledge = Knowledge()
    request = Request("m", STORY, temperature=0)
    key = Key("t@1", "d@1", STORY, "default", "0").encode()
    fields = {f"{x}{i}": 5000.0 * (0.02 if x == "s" else 1) for x in "se" for i in range(1, 5)}
    knowledge.install({key: Record(fields | {"+boost": 20.0, "n": 100.0, "vv": 100.0, "vb": 100.0}, NOW)}, NOW)
    knowledge.install({budget_key(request): Record({"served": 1e4}, NOW)}, NOW)
    decide = POLICIES["adaptive"].decide
    assert decide(request, FLEET, knowledge, NOW, 0.3).reason == Reason.PROBE
    knowledge.install({budget_key(request): Record({"served": 1e4, "excess": 9.9}, NOW)}, NOW)
    assert decide(request, FLEET, knowledge, NOW, 0.3).reason == Reason.FASTEST
