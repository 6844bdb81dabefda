"""What the keys of one drafter say of each other: that old evidence counts less, whoever it is of."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.evidence import HALF_LIFE_S
from policies.families import LONG, Family
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.records import EMPTY, Delta, Record
from policies.replica import Pool
from policies.request import Request

NOW, DAY_S = 1.7e9, 86_400.0
POOL = Pool("spec", "m", "t@1", "d@1", "draft_model", 4)
KEYS = [Key("t@1", "d@1", task, segment, "0") for task in ("translation", "mathematics") for segment in "abc"]


def seen(h: float, exposures: float, at_s: float) -> Record:
    """A record of this acceptance at every position."""
    sums = {f"{name}{i}": exposures * (h if name == "s" else 1) for name in "se" for i in range(1, 5)}
    return Record({**sums, "n": exposures / 20, "qn": exposures, "qd": exposures}, at_s)


def believed(records: dict[Key, Record], request: Request, now_s: float) -> float:
    """h_1 as it is believed of a request whose own key has seen nothing."""
    knowledge = Knowledge()
    knowledge.install({key.encode(): record for key, record in records.items()}, now_s)
    return knowledge.curve(request, POOL, now_s).h[0]


def test_what_siblings_saw_days_ago_is_forgotten() -> None:
    """A task's other segment, and the drafter's other tasks: a week later they are as if they had never been."""
    for key in KEYS[0], KEYS[3]:
        request = Request("m", "translation", segment="new", temperature=0)
        prior = believed({}, request, NOW)
        fresh, older, gone = (
            believed({key: seen(0.2, 400, NOW - age)}, request, NOW) for age in (60, DAY_S, 7 * DAY_S)
        )
        assert fresh < older < prior
        assert gone == pytest.approx(prior, abs=0.01)


def test_the_younger_of_two_siblings_counts_more() -> None:
    """Two segments with as many drafts, one from today and one from yesterday."""
    request = Request("m", "translation", segment="new", temperature=0)
    rose, fell = (
        believed({KEYS[0]: seen(first, 400, NOW - DAY_S), KEYS[1]: seen(then, 400, NOW)}, request, NOW)
        for first, then in ((0.3, 0.9), (0.9, 0.3))
    )
    assert rose > 0.8
    assert fell < 0.45


@given(st.randoms(use_true_random=False), st.lists(st.floats(0, 3 * LONG), min_size=1, max_size=12))
def test_sums_are_those_of_the_records_as_they_have_decayed(rng: random.Random, half_lives: list[float]) -> None:
    """Whatever came and went in whatever order, over weeks, and also where a clock was set back."""
    family, held = Family(), dict[Key, Record]()
    for ago in half_lives:
        for _ in range(4):
            key = rng.choice(KEYS)
            held[key] = rng.choice(
                [EMPTY, seen(rng.random(), rng.uniform(1, 900), NOW - rng.uniform(0, ago * HALF_LIFE_S))]
            )
            family.replace(key, held[key])
        now_s = NOW - rng.uniform(0, 2) * HALF_LIFE_S
        own = rng.choice(KEYS)
        rest = family.others(own.task, held.get(own, EMPTY), 4, now_s)
        others = [record for key, record in held.items() if key.task == own.task and key != own]
        for name in ("s1", "e4", "n", "qd"):
            true = sum(r.fields.get(name, 0.0) * 2 ** ((r.at_s - now_s) / HALF_LIFE_S) for r in others)
            assert rest.get(name, 0.0) == pytest.approx(true, rel=1e-6, abs=1e-6)
        every = sum(r.fields.get("e1", 0.0) * 2 ** ((r.at_s - now_s) / HALF_LIFE_S) for r in held.values())
        assert family.evidence(now_s) == pytest.approx(every, rel=1e-6, abs=1e-6)


def test_a_clock_that_ran_a_month_ahead_loses_nothing() -> None:
    """What was learnt meanwhile is as of then until the store's copy is read; the rest is believed as before."""
    knowledge, key = Knowledge(), KEYS[0]
    request = Request("m", "translation", segment="new", temperature=0)
    knowledge.install({key.encode(): seen(0.2, 400, NOW)}, NOW)
    before = knowledge.curve(request, POOL, NOW).h
    ahead_s = NOW + 30 * DAY_S
    knowledge.curve(request, POOL, ahead_s)
    knowledge.absorb([Delta(KEYS[1].encode(), seen(0.9, 20, ahead_s).fields)], ahead_s)
    knowledge.curve(request, POOL, ahead_s)
    knowledge.forget([KEYS[1].encode()])
    assert knowledge.curve(request, POOL, NOW + 1).h == pytest.approx(before, abs=1e-3)
