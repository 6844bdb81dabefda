"""The toy language: what it writes is repeatable, recognisable and as uncertain as each task is meant to be."""

from collections import Counter
from itertools import islice, pairwise
from random import Random

import pytest

from engines.demo.language.corpus import AUTHORS, write_corpus
from engines.demo.language.dice import DRAFT_FACES, FACES, ROLLS
from engines.demo.language.document import Voice, habitual
from policies.task import OTHER, TASKS


def answers(task: str, voice: Voice, count: int) -> list[str]:
    """The answers to the first `count` seeds."""
    return [AUTHORS[task](Random(seed), voice).answer for seed in range(count)]


def test_speaks_at_least_six_of_the_ten_tasks() -> None:
    """Every author is filed under a known task, the die under `other`."""
    assert len(AUTHORS.keys() & set(TASKS)) >= 6
    assert AUTHORS.keys() - set(TASKS) == {OTHER}


@pytest.mark.parametrize("task", AUTHORS)
def test_equal_random_states_write_equal_documents(task: str) -> None:
    """An author keeps no state of its own between documents."""
    AUTHORS[task](Random(1), Voice.DRAFT)
    assert AUTHORS[task](Random(7), Voice.TARGET) == AUTHORS[task](Random(7), Voice.TARGET)


@pytest.mark.parametrize("task", AUTHORS)
def test_both_voices_are_asked_the_same(task: str) -> None:
    """The voices differ in their answers, never in the prompts that they answer."""
    asked = [{AUTHORS[task](Random(seed), voice).prompt for seed in range(400)} for voice in Voice]
    shared = len(asked[0] & asked[1]) / len(asked[0])
    assert shared > 0.5 or task in {"summarization", "translation", "mathematics", "sql_generation"}
    assert {prompt.split()[0] for prompt in asked[0]} == {prompt.split()[0] for prompt in asked[1]}


@pytest.mark.parametrize("task", AUTHORS)
def test_the_first_words_of_a_prompt_tell_its_task(task: str) -> None:
    """No two tasks share the opening of a prompt, so a text classifier can tell them apart."""
    openings = {
        name: {author(Random(seed), Voice.TARGET).prompt[:14] for seed in range(50)} for name, author in AUTHORS.items()
    }
    others = set().union(*(found for name, found in openings.items() if name != task))
    assert openings[task].isdisjoint(others)


def test_prompts_are_one_line() -> None:
    """The line break belongs to the form of a document: a prompt with one could not be told from its answer."""
    documents = [written.document for written in islice(write_corpus(Voice.TARGET, 3), 500)]
    assert all("\n" not in document.prompt and document.prompt.endswith(".") for document in documents)
    assert all(document.answer for document in documents)


def test_sums_are_right() -> None:
    """Every line adds up and goes on from the one before."""
    for answer in answers("mathematics", Voice.TARGET, 50):
        *lines, last = answer.split("\n")
        totals = [int(line.split(" = ")[1]) for line in lines]
        assert all(sum(map(int, line.split(" = ")[0].split(" + "))) == total for line, total in zip(lines, totals))  # noqa: B905 - equal by construction
        assert [int(line.split(" + ")[0]) for line in lines[1:]] == totals[:-1]
        assert last == f"So the answer is {len(lines)} steps."


def test_written_functions_compute_what_their_prompt_says() -> None:
    """Every function of the code task runs and folds over the kept numbers."""
    keep = {"even": lambda n: n % 2 == 0, "odd": lambda n: n % 2 == 1, "positive": lambda n: n > 0}
    for answer in answers("code_generation", Voice.TARGET, 60):
        scope: dict[str, object] = {}
        exec(answer, scope)
        fold, kept = answer.removeprefix("def ").split("(")[0].split("_")
        function = scope[f"{fold}_{kept}"]
        assert callable(function)
        chosen = [n for n in (-3, -2, 1, 4, 5) if keep.get(kept, lambda n: n < 0)(n)]
        expected = {"sum": sum(chosen), "count": len(chosen), "list": chosen}
        assert fold == "product" or function([-3, -2, 1, 4, 5]) == expected[fold]


def test_the_die_is_loaded_as_stated_and_the_draft_knows_another() -> None:
    """Frequencies follow the stated probabilities; the two dice overlap by half."""
    rolls = Counter(face for answer in answers("other", Voice.TARGET, 200) for face in answer.split())
    assert rolls.total() == 200 * ROLLS
    for face, probability in FACES.items():
        assert rolls[face] / rolls.total() == pytest.approx(probability, abs=0.02)
    assert sum(FACES.values()) == pytest.approx(1) == sum(DRAFT_FACES.values())
    assert sum(min(FACES[face], DRAFT_FACES[face]) for face in FACES) == pytest.approx(0.5)


def test_the_two_poets_follow_different_tables() -> None:
    """After one word the poets' likely next words differ: that is what makes verse hard to draft."""

    def followers(voice: Voice) -> set[str]:
        verses = (answer.split() for answer in answers("creative_writing", voice, 400))
        return {after for verse in verses for before, after in pairwise(verse) if before == "moon"}

    assert len(followers(Voice.TARGET)) == len(followers(Voice.DRAFT)) == 16
    assert len(followers(Voice.TARGET) & followers(Voice.DRAFT)) < 12


def test_the_dialects_share_part_of_their_dictionary() -> None:
    """Most words of a translation are the same in both dialects, not all."""
    pairs = zip(*(answers("translation", voice, 200) for voice in Voice), strict=True)
    same = [
        ours == theirs for target, draft in pairs for ours, theirs in zip(target.split(), draft.split(), strict=True)
    ]
    assert 0.75 < sum(same) / len(same) < 0.95


def test_habits_begin_at_another_option_in_each_voice() -> None:
    """The commonest choice of one voice is not the other's."""
    commonest = {
        voice: Counter(habitual(Random(seed), voice, ("a", "b", "c")) for seed in range(300)).most_common(1)[0][0]
        for voice in Voice
    }
    assert commonest == {Voice.TARGET: "a", Voice.DRAFT: "b"}
