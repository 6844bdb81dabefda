"""Whatever an engine, a clock or an operator does: no record is poisoned, no decision fails, and what was not believed
is counted."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.choice import Reason
from policies.knowledge import Knowledge
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.replica import Pool, Replica
from policies.request import Request

ADAPTIVE = POLICIES["adaptive"]
SPEC = Pool("spec", "m", "t@1", "d@1", "draft_model", 4)
REPLICAS = [Replica("v0", Pool("vanilla", "m", "t@1")), Replica("s0", SPEC)]
REQUEST = Request("m", "sql_generation", temperature=0, prompt_tokens=50)
NOW = 1.7e9

numbers = st.one_of(st.floats(), st.floats(-10, 1e4))
counts = st.lists(st.integers(-2, 9), max_size=6).map(tuple)


@given(
    counts, counts, st.integers(-5, 500), st.tuples(*[numbers] * 8), st.floats(-1e6, 1e6), st.booleans(), st.booleans()
)
@settings(deadline=None, max_examples=150)
def test_no_outcome_poisons_a_record(
    drafted: tuple[int, ...],
    accepted: tuple[int, ...],
    tokens: int,
    floats: tuple[float, ...],
    jump_s: float,
    finished: bool,
    held_out: bool,
) -> None:
    """Counts that do not fit, numbers that are none, clocks that jump: sums stay finite, and deciding goes on."""
    knowledge = Knowledge()
    choice = ADAPTIVE.decide(REQUEST, REPLICAS, knowledge, NOW, 0.5)
    generation, ttft, batch, mean_k, max_k, context, prefill, queue = floats
    told = Outcome(REQUEST, choice, tokens, generation, ttft, drafted, accepted, batch, mean_k, max_k, context, prefill)
    told = replace(told, finished=finished, queue_s=queue)
    if held_out:
        told = replace(told, choice=replace(choice, engine=REPLICAS[0], k=0, key=None, reason=Reason.HOLD_OUT))
    for now_s in (NOW, NOW + jump_s, NOW):
        knowledge.absorb(ADAPTIVE.learn(told, knowledge, now_s).deltas, now_s)
    for record in knowledge.records.values():
        assert all(math.isfinite(v) and (v >= 0 or n[0] == "y") for n, v in record.fields.items()), record
    again = ADAPTIVE.decide(REQUEST, REPLICAS, knowledge, NOW, 0.5)
    assert 0 < again.u_s < math.inf


@pytest.mark.parametrize("field", ["generation_s", "mean_batch", "mean_k", "mean_max_k", "context_tokens"])
@pytest.mark.parametrize("value", [math.inf, math.nan, -math.inf])
def test_an_endless_figure_teaches_no_times(field: str, value: float) -> None:
    """Neither the step model nor the hold-out takes it, held out or not."""
    knowledge = Knowledge()
    choice = ADAPTIVE.decide(REQUEST, REPLICAS, knowledge, NOW, 0.5)
    good = {"output_tokens": 20, "generation_s": 0.5, "mean_batch": 2.0, "mean_k": 1.0, "mean_max_k": 1.0}
    told = Outcome(REQUEST, choice, **(good | {field: value}))  # type: ignore[arg-type]  # assembled by name
    held = replace(told, choice=replace(choice, engine=REPLICAS[0], k=0, key=None, reason=Reason.HOLD_OUT))
    for one in (told, held):
        knowledge.absorb(ADAPTIVE.learn(one, knowledge, NOW).deltas, NOW)
    values = [v for record in knowledge.records.values() for v in record.fields.values()]
    assert all(math.isfinite(v) for v in values)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"drafted": (2, 2), "accepted": (1,)}, "steps_mismatch"),
        ({"drafted": (2,), "accepted": (-1,)}, "steps_impossible"),
        ({"drafted": (9,), "accepted": (1,)}, "k_changed"),
        ({"output_tokens": -3}, "negative"),
        ({"finished": False}, "aborted"),
    ],
)
def test_what_is_not_believed_is_counted(broken: dict[str, object], reason: str) -> None:
    """By reason, and the belief stays as it was."""
    knowledge = Knowledge()
    choice = ADAPTIVE.decide(REQUEST, REPLICAS[1:], knowledge, NOW, 0.5)
    before = knowledge.curve(REQUEST, SPEC, NOW).expected
    fields: dict[str, object] = {"output_tokens": 20, "generation_s": 0.5, "drafted": (2,), "accepted": (1,)} | broken
    told = Outcome(REQUEST, choice, **fields)  # type: ignore[arg-type]  # assembled by name
    knowledge.absorb(ADAPTIVE.learn(told, knowledge, NOW).deltas, NOW)
    assert dict(knowledge.ignored) == {reason: 1}
    assert knowledge.curve(REQUEST, SPEC, NOW).expected == before


def test_a_pool_that_vanished_leaves_no_trace_in_decisions() -> None:
    """A class at home in a pool that is gone takes the best of what is left, and its late answers still teach."""
    knowledge = Knowledge()
    first = ADAPTIVE.decide(REQUEST, REPLICAS, knowledge, NOW, 0.5)
    knowledge.commit(REQUEST, first)
    assert first.pool == "spec"
    left = ADAPTIVE.decide(REQUEST, REPLICAS[:1], knowledge, NOW + 1, 0.5)
    assert (left.pool, left.k) == ("vanilla", 0)
    late = Outcome(REQUEST, first, 20, 0.5, 0.1, (first.k,) * 5, (1,) * 5)
    knowledge.absorb(ADAPTIVE.learn(late, knowledge, NOW + 2).deltas, NOW + 2)
    assert knowledge.curve(REQUEST, SPEC, NOW + 2).requests == pytest.approx(1.0)


def test_a_drafter_with_another_k_starts_from_what_its_positions_told() -> None:
    """The same drafter reloaded with a smaller k: its curve is as long as the new k, the evidence kept."""
    knowledge = Knowledge()
    choice = ADAPTIVE.decide(REQUEST, REPLICAS[1:], knowledge, NOW, 0.5)
    told = Outcome(REQUEST, replace(choice, k=4), 100, 2.0, 0.1, (4,) * 20, (0,) * 20)
    knowledge.absorb(ADAPTIVE.learn(told, knowledge, NOW).deltas, NOW)
    smaller = knowledge.curve(REQUEST, replace(SPEC, k_max=2), NOW)
    assert len(smaller.h) == 2
    assert smaller.h[0] < 0.6
