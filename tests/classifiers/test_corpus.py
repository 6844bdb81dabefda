"""The project's own prompts: many, varied, and the same for everyone."""

from collections import Counter
from pathlib import Path

import pytest

from classifiers.corpus import corpus, expand, grammars, tool_requests
from policies.task import OTHER, TASKS


def test_thousands_of_distinct_prompts_cover_every_task() -> None:
    """Every task has hundreds of prompts, from several families, and none appears twice within a task."""
    examples = corpus(per_task=600)
    assert set(Counter(example.task for example in examples).values()) == {600}
    assert {example.task for example in examples} == {*TASKS, OTHER}
    assert len({(item.task, item.prompt.text, item.prompt.history) for item in examples}) == len(examples)
    for task in (*TASKS, OTHER):
        assert len({example.source for example in examples if example.task == task}) >= 5


def test_the_same_seed_grows_the_same_corpus() -> None:
    """Anyone can reproduce the shipped classifier's own data."""
    assert corpus(seed=3, per_task=40) == corpus(seed=3, per_task=40)
    assert corpus(seed=3, per_task=40) != corpus(seed=4, per_task=40)


def test_the_corpus_is_varied() -> None:
    """Other scripts, long inputs, code, system prompts and earlier turns all occur."""
    examples = corpus(per_task=400)
    texts = [example.prompt.text for example in examples]
    assert sum(not text.isascii() for text in texts) > 0.08 * len(texts)
    assert sum(len(text) > 1_000 for text in texts) > 0.03 * len(texts)
    assert sum("\n" in text for text in texts) > 0.2 * len(texts)
    assert any(example.prompt.system for example in examples)
    assert any(example.prompt.history for example in examples)


def test_every_slot_of_every_seed_is_filled() -> None:
    """No prompt carries a hole."""
    prompts = [example.prompt for example in corpus(per_task=900)]
    assert not [prompt for prompt in prompts if "<<" in prompt.text + prompt.system + prompt.history]


def test_every_task_is_followed_up() -> None:
    """Conversations on every task end in a short turn, and some turn to something else."""
    brief = [item for item in corpus(per_task=600) if item.prompt.history and len(item.prompt.text) < 60]
    counts = Counter(example.task for example in brief)
    assert min(counts[task] for task in (*TASKS, OTHER)) >= 15
    assert any(example.source == "other/closing" for example in brief)


def test_tool_requests_offer_tools() -> None:
    """What the tools bonus is fitted on are requests with tools."""
    assert all(example.prompt.has_tools for example in tool_requests(wanted=20))


def test_a_slot_without_a_rule_is_named(tmp_path: Path) -> None:
    """A slip of the pen in a seed file says where it is."""
    (tmp_path / "common.txt").write_text(
        "= greeting\nHi\n= demand\nNow.\n= thanks\nThanks.\n= system\nS\n= history\nH\n"
    )
    (tmp_path / "sums.txt").write_text("= prompt:plain\nAdd <<nubmer>> to two\n")
    with pytest.raises(ValueError, match="nubmer"):
        corpus(per_task=1, seeds=tmp_path)
    assert [grammar.task for grammar in grammars(tmp_path)] == ["sums"]


def test_a_slot_that_holds_itself_is_refused() -> None:
    """Endless nesting is an error, not a hang."""
    import random

    with pytest.raises(ValueError, match="deeper"):
        expand("<<a>>", {"a": ("<<a>>",)}, random.Random(0))
