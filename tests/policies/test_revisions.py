"""A new revision of a target or a drafter: what it takes over, how it is watched, what an operator is told."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.choice import Choice, Reason
from policies.drift import fallen
from policies.event import Event
from policies.inheritance import MET, met_delta, predecessor, revision_key, unrevised, what_changed
from policies.knowledge import Knowledge
from policies.learning import Lesson
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.priors import acceptance_prior
from policies.records import EMPTY, apply, flaw, merge
from policies.replica import Pool, Replica
from policies.request import Request

NOW = 1.7e9
OLD = Pool("spec", "m", "org/m@0123456789ab", "/d@ba9876543210", "draft_model", 4)
NEW = replace(OLD, target="org/m@aaaaaaaaaaaa")
NGRAM = Pool("ngram", "m", OLD.target, None, "ngram", 4)


def _teach(knowledge: Knowledge, pool: Pool, h: float, at_s: float, task: str = "translation", seed: int = 0) -> Lesson:
    """An answer of forty steps at k = 4, learnt and absorbed."""
    rng, request, accepted = random.Random(seed), Request("m", task, temperature=0), []
    for _ in range(40):
        j = 0
        while j < 4 and rng.random() < h:
            j += 1
        accepted.append(j)
    key = knowledge.acceptance_key(request, pool, at_s)
    choice = Choice(Replica("s0", pool), 4, Reason.FASTEST, key, 5e-3, 5e-3, 8e-3, 8e-3)
    outcome = Outcome(request, choice, 41 + sum(accepted), 0.5, 0.1, (4,) * 40, tuple(accepted), 1.0, 4, 4)
    lesson = POLICIES["adaptive"].learn(outcome, knowledge, at_s)
    knowledge.absorb(lesson.deltas, at_s)
    return lesson


def _belief(knowledge: Knowledge, pool: Pool, at_s: float, task: str = "translation") -> tuple[float, ...]:
    return tuple(knowledge.curve(Request("m", task, temperature=0), pool, at_s).h)


def _learnt(h: float) -> Knowledge:
    knowledge = Knowledge()
    for i in range(60):
        _teach(knowledge, OLD, h, NOW + i, seed=i)
    return knowledge


@pytest.mark.parametrize("h", [0.9, 0.5])
def test_a_new_revision_starts_from_the_old_one_discounted(h: float) -> None:
    """Below what was seen of it, and nearer to that than the task's own prior is."""
    knowledge = _learnt(h)
    old, new = _belief(knowledge, OLD, NOW + 61)[0], _belief(knowledge, NEW, NOW + 61)[0]
    assert old == pytest.approx(h, abs=0.05)
    assert h - 0.12 < new < old


def test_a_new_drafter_takes_over_too() -> None:
    """Another revision of the drafter on the same target; another drafter takes over nothing."""
    knowledge = _learnt(0.95)
    retrained = replace(OLD, drafter="/d@cccccccccccc")
    other = replace(OLD, drafter="/other@cccccccccccc")
    assert _belief(knowledge, retrained, NOW + 61)[0] > 0.9
    assert _belief(knowledge, other, NOW + 61) == pytest.approx(acceptance_prior("translation", False, 4))


def test_a_few_answers_outweigh_what_was_taken_over() -> None:
    """A drafter that lost most of its acceptance is found out by three answers of the new target."""
    knowledge = _learnt(0.9)
    for i in range(3):
        _teach(knowledge, NEW, 0.3, NOW + 61 + i, seed=100 + i)
    assert _belief(knowledge, NEW, NOW + 65)[0] == pytest.approx(0.3, abs=0.15)


def test_it_is_watched_until_it_has_evidence_of_its_own() -> None:
    """A hundred first drafts; the old revision and a pair without a predecessor are not watched."""
    knowledge, request = _learnt(0.9), Request("m", "translation", temperature=0)
    assert knowledge.watched(request, NEW, NOW + 61)
    assert not knowledge.watched(request, replace(OLD, drafter="/other"), NOW + 61)
    for i in range(4):
        _teach(knowledge, NEW, 0.8, NOW + 61 + i, seed=i)
    assert not knowledge.watched(request, NEW, NOW + 65)


def test_the_change_is_told_once() -> None:
    """With what changed, from which revision to which."""
    knowledge = _learnt(0.9)
    events = [event for i in range(5) for event in _teach(knowledge, NEW, 0.9, NOW + 61 + i, seed=i).events]
    (told,) = [event for event in events if event.kind == "revision_changed"]
    assert "target org/m is now aaaaaaaaaaaa (before: 0123456789ab)" in told.detail
    assert "watched until 100 drafts" in told.detail


def test_the_first_revision_is_nothing_to_tell() -> None:
    """Nor does a restart with the same weights change anything."""
    knowledge = Knowledge()
    events = [event for i in range(5) for event in _teach(knowledge, OLD, 0.8, NOW + i, seed=i).events]
    assert [event.kind for event in events] == []


def test_a_stale_drafter_is_told_with_what_to_do() -> None:
    """Since when, which tasks, and the command that collects a set to distil from."""
    knowledge, tasks = Knowledge(), ("translation", "mathematics", "code_generation")
    events: list[Event] = []
    for i in range(120):
        _teach(knowledge, OLD, 0.85, NOW + i, tasks[i % 3], seed=i)
    for i in range(60):
        events += _teach(knowledge, OLD, 0.3, NOW + 120 + i, tasks[i % 3], seed=200 + i).events
    (told,) = [event for event in events if event.kind == "drafter_stale"]
    assert "since 2023-11-14 22:" in told.detail
    assert told.detail.endswith("alpharoute distill collect --tasks code_generation,mathematics,translation")
    assert fallen(knowledge.records, NOW) == frozenset(tasks)
    assert fallen(knowledge.records, NOW + 3600) == frozenset()


def test_lookups_are_doubted_where_they_begin() -> None:
    """How long a match lasts is the text's doing."""
    knowledge = Knowledge()
    for i in range(20):
        _teach(knowledge, NGRAM, 0.8, NOW + i, seed=i)
    old = _belief(knowledge, NGRAM, NOW + 21)
    new = _belief(knowledge, replace(NGRAM, target=NEW.target), NOW + 21)
    assert new[0] < old[0]
    assert new[1] == pytest.approx(old[1], abs=0.05)


def test_answers_of_the_old_revision_do_not_make_it_the_new_one() -> None:
    """While routers roll both answer: the change is told once, and the old revision takes nothing over."""
    knowledge, events = _learnt(0.9), list[Event]()
    for i in range(6):
        events += _teach(knowledge, (NEW, OLD)[i % 2], 0.4, NOW + 61 + i, seed=100 + i).events
    assert [event.kind for event in events if event.kind == "revision_changed"] == ["revision_changed"]
    old, new = ((pool.target, pool.drafter_id) for pool in (OLD, NEW))
    assert knowledge.predecessor(old, NOW + 67) is None
    assert knowledge.predecessor(new, NOW + 67) == old
    assert not knowledge.watched(Request("m", "summarization", temperature=0), OLD, NOW + 67)
    # What the old revision showed since may move its other tasks; the new one's evidence may not.
    alone = _learnt(0.9)
    for i in (1, 3, 5):
        _teach(alone, OLD, 0.4, NOW + 61 + i, seed=100 + i)
    assert _belief(knowledge, OLD, NOW + 67, "summarization") == _belief(alone, OLD, NOW + 67, "summarization")


def test_of_three_revisions_each_goes_by_earlier_ones() -> None:
    """The one with most evidence of them; what was rolled back goes by its own."""
    knowledge, pairs = Knowledge(), []
    for at, revision in enumerate(("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")):
        pool = replace(OLD, drafter=f"/d@{revision}")
        pairs.append((pool.target, pool.drafter_id))
        for i in range(3 - at):
            _teach(knowledge, pool, 0.8, NOW + 10 * at + i, seed=i)
    found = [knowledge.predecessor(pair, NOW + 40) for pair in pairs]
    assert found == [None, pairs[0], pairs[0]]


def test_one_that_taught_before_notes_were_taken_is_the_earlier() -> None:
    """After an upgrade of the router, or once its note expired: nothing is told of it, and it takes nothing over."""
    knowledge, new = _learnt(0.9), (NEW.target, NEW.drafter_id)
    old = (OLD.target, OLD.drafter_id)
    knowledge.forget([revision_key(old)])
    told = [event.kind for i in range(2) for event in _teach(knowledge, (NEW, OLD)[i], 0.9, NOW + 61 + i).events]
    assert told == ["revision_changed"]
    assert knowledge.predecessor(old, NOW + 63) is None
    assert knowledge.predecessor(new, NOW + 63) == old


@given(st.lists(st.floats(1.0, 4e9), min_size=1, max_size=5), st.randoms())
def test_the_earliest_note_is_kept_whatever_the_order(times_s: list[float], rng: random.Random) -> None:
    """Routers meet a revision at different times and write in any order, merged on the way or not."""
    pair = ("t", "d")
    notes = [met_delta(pair, at_s) for at_s in times_s]
    rng.shuffle(notes)
    apart = merged = None
    for note in notes:
        apart = apply(apart or EMPTY, note, NOW)
        merged = note if merged is None else merge(merged, note)
    assert merged is not None
    for record in (apart or EMPTY, apply(EMPTY, merged, NOW)):
        assert 1 / record.fields[MET] == pytest.approx(min(times_s))
        assert flaw(record, NOW) is None


def test_names_lose_their_revision_alone() -> None:
    """A branch, a folder with an @ in it and a LoRA adapter stay."""
    assert unrevised("org/m@0123456789ab") == "org/m"
    assert unrevised("org/m@0123456789ab+lora") == "org/m+lora"
    assert unrevised("org/m@main") == "org/m@main"
    assert predecessor(("a", "b"), {}, {}, NOW) is None
    assert "drafter d is now bbbbbbbbbbbb (before: unknown)" in what_changed(("t", "d@bbbbbbbbbbbb"), ("t", "d"))
