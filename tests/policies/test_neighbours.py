"""Engines that share hardware slow each other: what that costs is learnt, and who makes another start to work pays."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies import cost
from policies.cells import load_of
from policies.choice import Choice, Reason
from policies.document import parse_document
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.occupancy import Occupancy
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.records import EMPTY, Delta, Record, apply
from policies.replica import Pool, Replica, StepTime
from policies.request import Request

NOW = 1.7e9
DRAFT = Pool("draft", "m", "t@1", "d@1", "draft_model", 4)
VANILLA = Pool("vanilla", "m", "t@1")
PROBE = tuple(StepTime(b, k, 15 + 0.4 * b + (3 + 2 * k + 0.5 * b * k if k else 0)) for b in (1, 4) for k in (0, 1, 4))
ALONE = tuple(point for point in PROBE if point.k == 0)
NOTHING = cost.solve_probe(())
SLOWED_MS = 7.0


def answer(pool: Pool, name: str, neighbours: float, rng: random.Random) -> Outcome:
    """An answer of fifty steps in a batch of one to four, each step `SLOWED_MS` longer per neighbour at work."""
    k, batch = rng.randint(0, 4) if pool.k_max else 0, rng.uniform(1, 4)
    alone_ms = 15 + 0.4 * batch + (3 + 2 * k + 0.5 * batch * k if k else 0)
    step_s = (alone_ms + SLOWED_MS * neighbours) / 1e3 * rng.gauss(1, 0.03)
    choice = Choice(Replica(name, pool), k, Reason.FASTEST)
    return Outcome(
        Request("m"), choice, 51, 50 * step_s, 0.1, (), (), batch, k, k, mean_neighbours=neighbours,
    )  # fmt: skip


def learnt(pool: Pool, name: str, answers: int) -> dict[str, Record]:
    """The cost records of a replica after so many answers, its neighbour at work for any part of each."""
    rng, records = random.Random(1), dict[str, Record]()
    solved = cost.solve_probe(PROBE if pool.k_max else ALONE)
    model = cost.fit([{}] * 4, solved)
    for _ in range(answers):
        seen = cost.observe(answer(pool, name, rng.random(), rng))
        assert seen is not None
        key = cost.record_key(pool.name, name, seen.x[1])
        records[key] = apply(records.get(key, EMPTY), Delta(key, cost.cost_fields(seen, model)), NOW)
        model = cost.fit([records.get(k, EMPTY).fields for k in cost.record_keys(pool.name, name)], solved)
    return records


SEEN = st.tuples(st.floats(1, 100), st.integers(0, 4), st.floats(0, 2), st.floats(-7, 1))
"""Requests in the batch, drafts, neighbours at work, and the decimal logarithm of a step's seconds."""


@settings(max_examples=200, deadline=None)
@given(seen=st.lists(SEEN, max_size=12), running=st.integers(0, 90), others=st.integers(0, 9), top=st.integers(0, 4))
@example(seen=[(2.0, 4, 2.0, -2.03), (1.0, 0, 0.5, -6.27)], running=0, others=0, top=0)
def test_whatever_was_seen_a_step_takes_time(
    seen: list[tuple[float, int, float, float]], running: int, others: int, top: int
) -> None:
    """Engines that take next to no time, or only beside others, leave nothing that scores could not divide by."""
    model, records = cost.fit([{}] * 4, NOTHING), dict[str, Record]()
    for batch, k, neighbours, exponent in seen:
        told = cost.Observation(cost.row(batch, k, k, 0.0, neighbours=neighbours), 10**exponent, 30.0)
        key = cost.record_key("draft", "d", batch)
        records[key] = apply(records.get(key, EMPTY), Delta(key, cost.cost_fields(told, model)), NOW)
        model = cost.fit([records.get(k, EMPTY).fields for k in cost.record_keys("draft", "d")], NOTHING)
    seen_now = Replica("d", DRAFT, running, mean_k=float(top), max_k=top if running else 0)
    found = load_of(replace(seen_now, neighbours=min(1, others), neighbours_running=others), model, 1.0, 4)
    assert all(0 < step_s < math.inf for step_s in found.steps_s)
    assert all(math.isfinite(cost_s) for cost_s in found.cost_s)


@pytest.mark.parametrize(("answers", "within"), [(12, 0.25), (60, 0.1)])
def test_what_a_neighbour_costs_is_learnt_from_few_answers(answers: int, within: float) -> None:
    """No start-up probe shows it: engines of one machine are measured one by one."""
    records = learnt(VANILLA, "v", answers)
    fields = [records.get(key, EMPTY).fields for key in cost.record_keys("vanilla", "v")]
    model = cost.fit(fields, cost.solve_probe(ALONE))
    slowed_s = model.step_s(cost.row(2, 0, 0, 0, neighbours=1)) - model.step_s(cost.row(2, 0, 0, 0))
    assert slowed_s == pytest.approx(SLOWED_MS / 1e3, rel=within)
    assert model.step_s(cost.row(2, 0, 0, 0)) == pytest.approx(15.8e-3, rel=within / 2)


def knowing() -> Knowledge:
    """Both replicas' step times with a neighbour, and a task of which six drafts in ten land."""
    knowledge = Knowledge(parse_document({"exploration": {"enabled": False}, "guard": {"enabled": False}}))
    fields = {f"s{i}": 3000.0 for i in range(1, 5)} | {f"e{i}": 5000.0 for i in range(1, 5)}
    key = Key("t@1", "d@1", "sql_generation", "default", "0").encode()
    records = {key: Record(fields | {"n": 100.0, "vv": 100.0, "vb": 100.0, "ee": 1e6}, NOW)}
    knowledge.install(records | learnt(VANILLA, "v", 60) | learnt(DRAFT, "d", 60), NOW)
    return knowledge


def test_an_idle_engine_on_the_same_hardware_is_not_free() -> None:
    """Three run in the drafting engine: a fourth joins them where the idle engine would slow all three."""
    knowledge, request = knowing(), Request("m", "sql_generation", temperature=0)
    busy = Replica("d", DRAFT, 3, 0, mean_k=4, max_k=4, k_shares=(0, 0.25, 0.5, 0.75, 1), probe=PROBE, max_running=8)
    idle = Replica("v", VANILLA, probe=ALONE, max_running=8)
    beside = replace(idle, neighbours=1, neighbours_running=3)
    scores = POLICIES["adaptive"].decide(request, [busy, beside], knowledge, NOW, 0.5)
    assert (scores.replica, scores.k > 0) == ("d", True)
    scores = POLICIES["adaptive"].decide(request, [busy, idle], knowledge, NOW, 0.5)
    assert scores.replica == "v"


def test_neighbours_at_work_are_averaged_over_an_answer() -> None:
    """One for a quarter of the time and another for half of it: three quarters of one."""
    engine, first, second = Occupancy(), Occupancy(), Occupancy()
    engine.beside, first.beside, second.beside = [first, second], [engine, second], [engine, first]
    ticket = engine.enter(0, 10, 10, 100.0)
    early = first.enter(0, 10, 10, 100.0)
    late = second.enter(0, 10, 10, 101.0)
    first.leave(early, 101.0)
    second.leave(late, 103.0)
    assert engine.leave(ticket, 104.0).mean_neighbours == pytest.approx(0.75)
    assert first.seen(Replica("v", VANILLA)).neighbours == 0
