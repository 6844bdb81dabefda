"""What an operator wants minimised: which option each objective takes, and that none sends requests into a queue."""

from typing import Any

import pytest

from policies.choice import Load, Reason, Score
from policies.document import parse_document
from policies.knowledge import Knowledge
from policies.objective import preferred
from policies.policy import POLICIES
from policies.replica import Pool, Replica
from policies.request import Request
from policies.rules import Objective, Target

VANILLA = Pool("vanilla", "m", "t@1")
SPEC = Pool("spec", "m", "t@1", "d@1", "eagle", 4)
REQUEST = Request("m", "code_generation", temperature=0, prompt_tokens=200)
NOW = 1_700_470_800.0

AIMS = (
    {"kind": "mean_time"},
    {"kind": "goodput", "targets": {"default": {"tpot_ms": 50}}},
    {"kind": "goodput", "targets": {"default": {"tpot_ms": 50, "ttft_ms": 500}}},
    {"kind": "goodput", "targets": {"default": {"tpot_ms": 0.01}}},
    {"kind": "cheapest"},
    {"kind": "cheapest", "targets": {"default": {"tpot_ms": 50}}},
)


def score(
    name: str, tpot_ms: tuple[float, ...], engine_ms: tuple[float, ...], wait_s: float = 0.0, queued: float = 0.0
) -> Score:
    """A replica whose every k is allowed."""
    tpot, engine = tuple(t / 1e3 for t in tpot_ms), tuple(e / 1e3 for e in engine_ms)
    u_s = tuple(t * (1 + queued) + e for t, e in zip(tpot, engine, strict=True))
    load = Load(tpot, engine, tpot, 1.0, True, queued)
    return Score(Replica(name, SPEC), u_s, load, (1.0,) * 3, (0.0,) * 3, 0.0, wait_s, 0, len(tpot) - 1)


SCORES = (score("fast", (9.0, 6.0, 4.0), (1.0, 2.0, 3.9)), score("slow", (9.0, 7.0, 6.5), (0.5, 0.6, 0.7)))


def chosen(scores: tuple[Score, ...], **objective: Any) -> tuple[str, int]:
    """The replica and k that an objective prefers."""
    top = preferred(scores, Request("m"), Objective(**objective))
    return top.replica.name, top.k


def target(tpot_ms: float | None = None, ttft_ms: float | None = None) -> dict[str, Target]:
    """A target for all segments."""
    return {"default": Target(tpot_ms=tpot_ms, ttft_ms=ttft_ms)}


def test_mean_time_takes_the_least_score() -> None:
    """Time per token and harm together."""
    assert chosen(SCORES) == ("slow", 2)


def test_goodput_does_not_meet_one_target_at_the_cost_of_others() -> None:
    """Without a queue the least mean time serves most targets, whether this one is met or not."""
    for tpot_ms in (10.0, 6.0, 1.0):
        assert chosen(SCORES, kind="goodput", targets=target(tpot_ms)) == ("slow", 2)
    assert chosen(SCORES, kind="goodput") == ("slow", 2)


def test_goodput_leaves_a_queue_that_misses_a_target() -> None:
    """The wait counts against the time to the first token, and per token against the time per token."""
    scores = (score("full", (4.0,) * 3, (0.1,) * 3, 2.0, 0.8), score("free", (12.0,) * 3, (9.0,) * 3))
    assert chosen(scores, kind="goodput", targets=target(None, 10_000)) == ("full", 0)
    assert chosen(scores, kind="goodput", targets=target(None, 500)) == ("free", 0)
    longer = (score("full", (14.0,) * 3, (0.1,) * 3, 2.0, 0.8), scores[1])
    assert chosen(longer, kind="goodput", targets=target(20.0)) == ("free", 0)


def test_cheapest_takes_the_least_engine_time_that_is_fast_enough() -> None:
    """Up to twice the fastest time per token, within a target where there is one."""
    assert chosen(SCORES, kind="cheapest") == ("slow", 1)
    assert chosen(SCORES, kind="cheapest", targets=target(9.0)) == ("fast", 1)
    assert chosen(SCORES, kind="cheapest", targets=target(1.0)) == ("slow", 2)


def test_cheapest_does_not_queue() -> None:
    """A queue is free of charge for the engine, and paid by whoever waits; where all queue, the least mean time."""
    full = score("full", (4.0,) * 3, (0.1,) * 3, 2.0, 0.8)
    assert chosen((full, SCORES[1]), kind="cheapest") == ("slow", 0)
    fuller = score("fuller", (4.0,) * 3, (0.01,) * 3, 20.0, 8.0)
    assert chosen((fuller, full), kind="cheapest") == ("full", 0)


def decided(aim: dict[str, Any], waiting: int, uniform: float) -> Any:
    """The choice among a full engine, `waiting` requests before it, and three idle ones."""
    knowledge = Knowledge(document=parse_document({"objective": aim}))
    fleet = [
        Replica("full", VANILLA, running=256, waiting=waiting),
        Replica("v", VANILLA),
        Replica("d0", SPEC),
        Replica("d1", SPEC),
    ]
    return POLICIES["adaptive"].decide(REQUEST, fleet, knowledge, NOW, uniform)


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("waiting", [0, 10, 5000])
def test_no_objective_sends_a_request_to_a_full_engine_while_others_idle(aim: dict[str, Any], waiting: int) -> None:
    """Whatever is wanted: a request that waits helps nobody."""
    for uniform in (0.1, 0.4, 0.7, 0.999):
        assert decided(aim, waiting, uniform).replica != "full"


def test_the_cheapest_is_neither_called_the_fastest_nor_held_against_vanilla() -> None:
    """It may be slower than vanilla by what the operator wants: no hold-out, and nothing for the guard to go by."""
    assert decided({"kind": "cheapest"}, 0, 0.7).reason == Reason.CHEAPEST
    assert decided({"kind": "cheapest"}, 0, 0.9999).reason == Reason.CHEAPEST
    assert decided({"kind": "goodput"}, 0, 0.9999).reason == Reason.HOLD_OUT
