"""What a simulated request says: deterministic, independent of k, with lengths and stops as asked."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.simulator.calibration import TaskProfile
from engines.simulator.outputs import OutputPlan, Sampling, draws, plan_output
from engines.simulator.tasks import read_task
from engines.simulator.tokens import count_tokens, decode, encode

PROFILE = TaskProfile(h=(0.8,), mean_tokens=60, tokens_sigma=0.6)

samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 200),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.none() | st.integers(0, 5),
    index=st.integers(0, 2),
    ignore_eos=st.booleans(),
    stop=st.lists(st.sampled_from([" the", "a", "e s", "zzz"]), max_size=2).map(tuple),
    include_stop=st.booleans(),
)


def _plan(sampling: Sampling, prompt: str = "hello", engine_seed: int = 0) -> OutputPlan:
    return plan_output(PROFILE, sampling, draws(engine_seed, prompt, sampling).output)


@given(st.text(), samplings)
def test_the_same_request_says_the_same(prompt: str, sampling: Sampling) -> None:
    """By seed, prompt and the request's own seed."""
    assert _plan(sampling, prompt) == _plan(sampling, prompt)


@given(samplings)
def test_pieces_join_to_the_text_within_the_limit(sampling: Sampling) -> None:
    """However the tokens are portioned, nothing is lost and max_tokens holds."""
    plan = _plan(sampling)
    assert 1 <= plan.tokens <= sampling.max_tokens
    for width in (1, 3):
        pieces = (plan.piece(at, min(at + width, plan.tokens)) for at in range(0, plan.tokens, width))
        assert "".join(pieces) == plan.text


@given(samplings)
def test_a_stop_string_ends_the_text(sampling: Sampling) -> None:
    """The text holds no stop string, or ends with the one that was asked to be kept."""
    plan = _plan(sampling)
    if plan.stop_string is None:
        assert not any(stop in plan.text for stop in sampling.stop)
    elif sampling.include_stop:
        assert plan.text.endswith(plan.stop_string)
    else:
        assert plan.finish_reason == "stop"
        assert not any(stop in plan.text for stop in sampling.stop)


def test_greedy_text_ignores_the_request_seed_and_sampled_text_follows_it() -> None:
    """As on a real engine: temperature 0 leaves nothing to chance."""
    greedy = {_plan(Sampling(20, temperature=0, seed=seed)).text for seed in (None, 1, 2)}
    sampled = {_plan(Sampling(20, temperature=0.7, seed=seed)).text for seed in (None, 1, 2)}
    assert (len(greedy), len(sampled)) == (1, 3)


def test_engines_of_different_seeds_are_different_models() -> None:
    """The engine's seed stands for the weights."""
    assert _plan(Sampling(20)) != _plan(Sampling(20), engine_seed=1)


def test_outputs_end_early_around_the_tasks_length() -> None:
    """Lengths differ by prompt, have the profile's mean and end with `stop`."""
    plans = [_plan(Sampling(10_000), prompt=str(i)) for i in range(4_000)]
    assert fmean(plan.tokens for plan in plans) == pytest.approx(60, rel=0.05)
    assert {plan.finish_reason for plan in plans} == {"stop"}
    assert len({plan.tokens for plan in plans}) > 50


@pytest.mark.parametrize(("extra", "tokens"), [({"ignore_eos": True}, 3000), ({"min_tokens": 2000}, 2000)])
def test_lengths_can_be_forced(extra: dict[str, int], tokens: int) -> None:
    """Benchmarks want every output equally long."""
    sampling = Sampling(3000, ignore_eos=bool(extra.get("ignore_eos")), min_tokens=extra.get("min_tokens", 0))
    assert _plan(sampling).tokens == tokens


@given(samplings.filter(lambda sampling: not sampling.stop))
def test_tokenize_counts_the_completion_tokens(sampling: Sampling) -> None:
    """One word, one token: usage can be checked with the engine's own tokenizer."""
    plan = _plan(sampling)
    assert count_tokens(plan.text) == len(encode(plan.text)) == plan.tokens


@given(st.text())
def test_tokens_are_reversible(text: str) -> None:
    """Any text, also one that four-byte pieces cut within a character."""
    assert decode(encode(text)) == text
    assert count_tokens(text) == len(encode(text))


@given(st.lists(st.integers(0, 2**63 - 1)))
def test_foreign_token_ids_decode_to_something(tokens: list[int]) -> None:
    """Ids of another tokenizer are no error."""
    assert isinstance(decode(tokens), str)


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("[task:legal_analysis] select a from b", "legal_analysis"),
        ("Write a SQL query that lists all users", "sql_generation"),
        ("Implement quicksort as a Python function", "code_generation"),
        ("Solve 3x + 4 = 10", "mathematics"),
        ("Translate to French: good morning", "translation"),
        ("Summarize this article", "summarization"),
        ("I want a refund for my order", "customer_support"),
        ("Tell me a story about a fox", "creative_writing"),
        ("Who discovered penicillin?", "question_answering"),
        ("Generate the curl request for this endpoint", "api_call_generation"),
        ("hm", "other"),
        ("", "other"),
    ],
)
def test_the_task_is_read_from_the_prompt(prompt: str, task: str) -> None:
    """A marker first, then keywords, then nothing in particular."""
    assert read_task(prompt) == task
