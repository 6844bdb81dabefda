"""The step-time model: recovered from finished requests, additive, never negative, robust to outliers."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import cost
from policies.choice import Choice, Reason
from policies.nnls import nonnegative
from policies.outcome import Outcome
from policies.records import EMPTY, Delta, Record, apply
from policies.replica import Pool, Replica, StepTime
from policies.request import Request

POOL = Pool("spec", "m", "t@1", "d@1", "eagle", 8)
PROBE = tuple(StepTime(b, k, true_ms) for b, k, true_ms in ((1, 0, 7.1), (1, 4, 9.4), (8, 0, 7.3), (8, 4, 10.1)))


def true_s(batch: float, drafts: float, max_k: float, prefill: float = 0.0) -> float:
    """Step time of the engine the tests observe."""
    return 7e-3 + 3e-5 * batch + 2e-5 * drafts + 5.5e-4 * max_k + 2e-5 * prefill


def outcome(rng: random.Random, factor: float = 1.0) -> Outcome:
    """One finished request in a random batch."""
    batch, k, steps, prefill = rng.uniform(1, 60), rng.randint(0, 6), 50, rng.uniform(0, 20)
    step_s = true_s(batch, batch * k, k, prefill) * factor * rng.gauss(1, 0.03)
    choice = Choice(Replica("r", POOL), k, Reason.FASTEST)
    prefill_tokens = prefill * steps
    return Outcome(Request("m"), choice, steps + 1, steps * step_s, 0.1, (), (), batch, k, k, 0.0, prefill_tokens)


def learnt(outcomes: list[Outcome], probe: tuple[StepTime, ...] = PROBE) -> cost.StepModel:
    """The model after these outcomes."""
    solved = cost.solve_probe(probe)
    records: dict[str, Record] = {}
    model = cost.fit([{}] * 4, solved)
    for i, one in enumerate(outcomes):
        seen = cost.observe(one)
        assert seen is not None
        key = cost.record_key("spec", "r", seen.x[1])
        records[key] = apply(records.get(key, EMPTY), Delta(key, cost.cost_fields(seen, model)), 1.0)
        if i % 5 == 0:
            model = cost.fit([records.get(k, EMPTY).fields for k in cost.record_keys("spec", "r")], solved)
    return cost.fit([records.get(k, EMPTY).fields for k in cost.record_keys("spec", "r")], solved)


@pytest.mark.parametrize(("batch", "k"), [(1, 0), (8, 2), (30, 4), (55, 6), (50, 1)])
def test_step_times_are_recovered(batch: float, k: float) -> None:
    """Within 5 % of the truth over batches and k, prefills of others taken out."""
    rng = random.Random(1)
    model = learnt([outcome(rng) for _ in range(300)])
    assert model.step_s(cost.row(batch, k, k, 0.0)) == pytest.approx(true_s(batch, batch * k, k), rel=0.05)


def test_outliers_do_not_move_it() -> None:
    """One request in twenty that takes ten times as long changes predictions by less than 10 %."""
    rng = random.Random(2)
    model = learnt([outcome(rng, 10.0 if i % 20 == 10 else 1.0) for i in range(300)])
    assert model.step_s(cost.row(30, 3, 3, 0.0)) == pytest.approx(true_s(30, 90, 3), rel=0.1)


def test_a_probe_alone_predicts() -> None:
    """Before any request the start-up probe gives the times it measured."""
    model = cost.fit([{}] * 4, cost.solve_probe(PROBE))
    assert model.step_s(cost.row(1, 4, 4, 0.0)) == pytest.approx(9.4e-3, rel=0.05)
    assert model.step_s(cost.row(8, 0, 0, 0.0)) == pytest.approx(7.3e-3, rel=0.05)


def test_a_slow_machine_scales_the_probe() -> None:
    """Thirty requests at twice the time also double what was only ever probed."""
    rng = random.Random(3)
    model = learnt([outcome(rng, 2.0) for _ in range(60)])
    assert model.step_s(cost.row(1, 4, 4, 0.0)) == pytest.approx(2 * true_s(1, 4, 4), rel=0.15)


def test_routers_add_up() -> None:
    """Two routers' sums added are the sums of one router that saw everything."""
    rng = random.Random(4)
    model = cost.fit([{}] * 4, cost.solve_probe(PROBE))
    fields = []
    for one in (outcome(rng) for _ in range(20)):
        seen = cost.observe(one)
        assert seen is not None
        fields.append(cost.cost_fields(seen, model))
    together = cost.total(fields)
    halves = [cost.total(half) for half in (fields[:10], fields[10:])]
    assert cost.total(halves) == pytest.approx(together)


@pytest.mark.parametrize(
    "broken",
    [
        {"generation_s": 0.0},
        {"generation_s": -1.0},
        {"generation_s": float("nan")},
        {"output_tokens": 3},
        {"finished": False},
    ],
)
def test_impossible_times_are_not_observed(broken: dict[str, float]) -> None:
    """Zero, negative, not a number, too short, aborted."""
    base = {"request": Request("m"), "choice": Choice(Replica("r", POOL), 2, Reason.FASTEST)}
    given_: dict[str, object] = base | {"output_tokens": 50, "generation_s": 1.0} | broken
    assert cost.observe(Outcome(**given_)) is None  # type: ignore[arg-type]  # assembled by name


@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=6, max_size=12), st.data())
@settings(deadline=None)
def test_non_negative_least_squares_is_optimal(rows: list[list[float]], data: st.DataObject) -> None:
    """No coordinate step inside the orthant improves the solution."""
    target = data.draw(st.lists(st.floats(-5, 5), min_size=len(rows), max_size=len(rows)))
    a = [[sum(r[i] * r[j] for r in rows) + (i == j) for j in range(4)] for i in range(4)]
    b = [sum(r[i] * t for r, t in zip(rows, target, strict=True)) for i in range(4)]

    def value(x: list[float]) -> float:
        return sum(x[i] * a[i][j] * x[j] for i in range(4) for j in range(4)) / 2 - sum(map(lambda p, q: p * q, b, x))

    x = nonnegative(a, b)
    assert all(v >= 0 for v in x)
    for i in range(4):
        for step in (-1e-3, 1e-3):
            moved = list(x)
            moved[i] = max(0.0, moved[i] + step)
            assert value(moved) >= value(x) - 1e-6
