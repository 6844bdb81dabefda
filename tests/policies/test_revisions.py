"""A new revision of a target or a drafter: what it takes over, how it is watched, what an operator is told."""

import random
from dataclasses import replace

import pytest

from policies.choice import Choice, Reason
from policies.drift import drafter_key, fallen
from policies.event import Event
from policies.inheritance import predecessor, unrevised, what_changed
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.learning import Lesson
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.priors import acceptance_prior
from policies.records import Record
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


def test_names_lose_their_revision_alone() -> None:
    """A branch, a folder with an @ in it and a LoRA adapter stay."""
    assert unrevised("org/m@0123456789ab") == "org/m"
    assert unrevised("org/m@0123456789ab+lora") == "org/m+lora"
    assert unrevised("org/m@main") == "org/m@main"
    assert predecessor(("a", "b"), {}) is None
    assert "drafter d is now bbbbbbbbbbbb (before: unknown)" in what_changed(("t", "d@bbbbbbbbbbbb"), ("t", "d"))


def test_watching_is_no_task() -> None:
    """The note that a revision was told of is not counted among the tasks that drifted."""
    record = Record({"^watched": NOW, "^translation": NOW}, NOW)
    assert fallen({drafter_key(Key("t", "d", "x", "s", "0")): record}, NOW - 1) == {"translation"}
