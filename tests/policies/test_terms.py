"""Windows, occupancy and objectives: the smaller parts a decision is made of."""

import pytest

from policies.document import parse_document
from policies.knowledge import Knowledge
from policies.occupancy import Occupancy, k_shares
from policies.replica import Pool, Replica
from policies.request import Request
from policies.rules import Window
from policies.scoring import score_all
from policies.terms import Moment, applies, open_at, terms

MONDAY_9 = 1_700_470_800.0  # 2023-11-20 09:00 UTC, a Monday
SPEC = Pool("spec", "m", "t@1", "d@1", "eagle", 4)


@pytest.mark.parametrize(
    ("window", "inside"),
    [
        ({"from_hour": 9, "to_hour": 17}, True),
        ({"from_hour": 10, "to_hour": 17}, False),
        ({"from_hour": 22, "to_hour": 10}, True),
        ({"from_hour": 22, "to_hour": 6}, False),
        ({"from_hour": 9, "to_hour": 17, "days": (0,)}, True),
        ({"from_hour": 9, "to_hour": 17, "days": (1, 2)}, False),
        ({"from_hour": 22, "to_hour": 10, "days": (6,)}, True),
        ({"from_hour": 11, "to_hour": 12, "utc_offset_h": 2}, True),
    ],
)
def test_windows_open_and_close(window: dict[str, object], inside: bool) -> None:
    """By hour, past midnight, by day of opening, in another time zone."""
    assert open_at(Window.model_validate(window | {"k_max": 1}), MONDAY_9) is inside


def test_later_rules_win_and_the_client_has_the_last_word() -> None:
    """A second rule overrides the first; a client's `off` overrides both; the kill switch overrides all."""
    rules = [
        {"then": {"mode": "vanilla"}},
        {"when": {"tools": True}, "then": {"mode": "auto", "k": {"min": 2, "max": 3}}},
    ]
    document = parse_document({"rules": rules})
    assert terms(Request("m"), document, 100, 0).k_max == 0
    ruled = terms(Request("m", tools=True), document, 100, 0)
    assert (ruled.k_min, ruled.k_max, ruled.vanilla) == (2, 3, True)
    assert terms(Request("m", tools=True, speculation="off"), document, 100, 0).k_max == 0
    killed = parse_document({"kill_switch": True})
    assert terms(Request("m", speculation="on"), killed, 100, 0).k_max == 0


def test_conditions_must_all_hold() -> None:
    """Each condition alone, and two of which one fails."""
    when = (
        parse_document(
            {
                "rules": [
                    {"when": {"task": ["mathematics"], "temperature_above": 0.7, "prompt_tokens_above": 10}, "then": {}}
                ]
            }
        )
        .rules[0]
        .when
    )
    assert applies(when, Request("m", "mathematics", temperature=1.0, prompt_tokens=11), Moment(MONDAY_9))
    assert not applies(when, Request("m", "mathematics", temperature=0.7, prompt_tokens=11), Moment(MONDAY_9))
    assert not applies(when, Request("m", "translation", temperature=1.0, prompt_tokens=11), Moment(MONDAY_9))


@pytest.mark.parametrize("uniform", [0.0, 0.5])
def test_a_full_cache_is_kept_from_drafts_whichever_bound_is_lower(uniform: float) -> None:
    """Where vanilla is wanted from .7 on, k ≤ 1 from .9: what one replica may do says nothing of its neighbour."""
    document = parse_document({"safeguards": {"kv_usage_vanilla": 0.7}})
    pair = [Replica("full", SPEC, kv_usage=0.8), Replica("calm", SPEC, kv_usage=0.1)]
    for replicas in (pair, pair[::-1]):
        fleet = [*replicas, Replica("v", Pool("vanilla", "m", "t@1"))]
        allowed = terms(Request("m"), document, 100, 0)
        scores = score_all(Request("m"), fleet, allowed, Knowledge(document), 0.0, uniform)
        assert {score.replica: (score.low, score.high) for score in scores} == {
            "full": (1, 0),
            "calm": (1, 4),
            "v": (0, 0),
        }


def test_occupancy_averages_the_batch_over_a_life() -> None:
    """Alone for half the time and with one other for the rest: a mean batch of 1.5."""
    seen = Occupancy(8)
    ticket = seen.enter(4, 100, 200, 0.0)
    other = seen.enter(2, 50, 100, 5.0)
    batch = seen.leave(ticket, 10.0)
    assert (batch.mean_batch, batch.mean_k, batch.mean_max_k, batch.prefill_tokens) == (1.5, 3.5, 4.0, 50)
    seen.leave(other, 12.0)
    assert seen.seen(Replica("s0", SPEC)).running == 0


def test_occupancy_believes_heartbeats_and_its_own_requests_since() -> None:
    """Other routers' requests come with the heartbeat, ours at once; a full batch shows as waiting."""
    seen = Occupancy(4)
    seen.beat(3, 0, 0.5, 0.0)
    seen.enter(2, 10, 10, 1.0)
    seen.enter(2, 10, 10, 1.0)
    now = seen.seen(Replica("s0", SPEC, max_running=4))
    assert (now.running, now.waiting, now.kv_usage, now.max_k) == (4, 1, 0.5, 2)


def test_a_clock_that_jumps_back_does_not_break_an_average() -> None:
    """The batch is still at least the request itself."""
    seen = Occupancy(8)
    ticket = seen.enter(2, 10, 10, 100.0)
    assert seen.leave(ticket, 50.0).mean_batch >= 1


def test_drafting_passes_are_shared_by_all_who_use_them() -> None:
    """The shares of three requests add up to the passes of the largest, and the first pass costs least each."""
    shares = {k: k_shares({2: 1, 4: 1}, 4)[k] for k in range(5)}
    assert shares[1] == pytest.approx(1 / 3)
    assert shares[4] - shares[3] == pytest.approx(1 / 2)
    # 4 joins {2, 4}: passes 1–2 by three, 3–4 by two.
    assert shares[4] == pytest.approx(2 / 3 + 2 / 2)
