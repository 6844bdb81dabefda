"""What is tried against the scores, under which terms, and out of which budget."""

import pytest

from policies.choice import Choice, Reason
from policies.document import parse_document
from policies.explore import budget_fields, budget_key
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.records import Record
from policies.replica import Pool, Replica, StepTime
from policies.request import Request

ADAPTIVE = POLICIES["adaptive"]
NOW = 1.7e9
PROBE = tuple(
    StepTime(b, k, 8 + 0.03 * b + 0.02 * b * k + (0.2 + 0.8 * k if k else 0)) for b in (1, 4, 8) for k in (0, 1, 4)
)
VANILLA = Replica("v0", Pool("vanilla", "m", "t@1"), probe=PROBE)
OLD = Replica("o0", Pool("old", "m", "t@1", "old@1", "draft_model", 5), probe=PROBE)
NEW = Replica("n0", Pool("new", "m", "t@1", "new@1", "draft_model", 5), probe=PROBE)
REQUEST = Request("m", "translation", temperature=0)
SERVED = {budget_key(REQUEST): Record({"served": 1e5}, NOW)}


def taught(drafter: str, h: float, steps: float = 800.0, requests: float = 20.0) -> dict[str, Record]:
    """The record of a task whose drafts were accepted with h."""
    fields = {f"s{i}": steps * h for i in range(1, 6)} | {f"e{i}": steps for i in range(1, 6)}
    key = Key("t@1", drafter, "translation", "default", "0").encode()
    return {key: Record(fields | {"n": requests, "vv": requests, "vb": requests, "ee": 1e4}, NOW)}


def knowing(document: dict[str, object], **h: float) -> Knowledge:
    """A model that has served long enough to afford trials, with a drafter's acceptance by its name."""
    knowledge = Knowledge(parse_document(document))
    knowledge.install(SERVED | {k: v for drafter in h for k, v in taught(f"{drafter}@1", h[drafter]).items()}, NOW)
    return knowledge


def decisions(knowledge: Knowledge, fleet: list[Replica], n: int = 2000) -> list[Choice]:
    """One decision for each of n draws, spread evenly."""
    return [ADAPTIVE.decide(REQUEST, fleet, knowledge, NOW, (i + 0.5) / n) for i in range(n)]


def test_a_drafter_that_joins_is_met_by_traffic_that_speculates_already() -> None:
    """Its prior is below what the old one showed; a small share finds out, until enough is known."""
    fleet = [VANILLA, OLD, NEW]
    tried = [c for c in decisions(knowing({}, old=0.8), fleet) if c.pool == "new"]
    assert 5 <= len(tried) <= 20
    assert {c.reason for c in tried} == {Reason.EXPLORE}
    assert not [c for c in decisions(knowing({}, old=0.8, new=0.5), fleet) if c.pool == "new"]


@pytest.mark.parametrize(
    "document",
    [
        {"windows": [{"from_hour": 0, "to_hour": 24, "k_max": 3}]},
        {"windows": [{"from_hour": 0, "to_hour": 24, "k_max": 5}]},
        {"rules": [{"name": "cap", "when": {}, "then": {"k": {"max": 3}}}]},
        {"rules": [{"name": "pools", "when": {}, "then": {"pools": ["vanilla", "old"]}}]},
        {"tasks": {"translation": {"k": {"max": 3}}}},
    ],
)
def test_a_cap_leaves_trials_and_the_guards_hold_out_alive(document: dict[str, object]) -> None:
    """It says how far, not whether: a task that fell is still probed, and speculation still checked."""
    chosen = decisions(knowing(document, old=0.7), [VANILLA, OLD])
    reasons = {choice.reason for choice in chosen}
    assert {Reason.FASTEST, Reason.HOLD_OUT} <= reasons
    parked = decisions(knowing(document, old=0.02), [VANILLA, OLD])
    assert Reason.EXPLORE in {choice.reason for choice in parked}
    cap = 3 if "3" in str(document) else 5
    assert max(choice.k for choice in [*chosen, *parked]) <= cap


@pytest.mark.parametrize("mode", ["vanilla", "speculative"])
def test_whoever_settles_whether_to_draft_is_obeyed(mode: str) -> None:
    """No hold-out from a task that must speculate, no trial of one that must not."""
    chosen = decisions(knowing({"tasks": {"translation": {"mode": mode}}}, old=0.7), [VANILLA, OLD])
    assert {choice.reason for choice in chosen} == {Reason.RULE}
    assert {choice.k > 0 for choice in chosen} == {mode == "speculative"}


def test_hold_outs_are_paid_from_their_own_budget() -> None:
    """Every gain of more than 5 % would otherwise use up what trials may cost."""
    (held,) = {c.reason: c for c in decisions(knowing({}, old=0.8), [VANILLA, OLD]) if c.reason == "hold_out"}.values()
    assert "excess" not in budget_fields(Outcome(REQUEST, held, 100, 1.0, 0.1))
    (tried,) = {c.reason: c for c in decisions(knowing({}, old=0.02), [VANILLA, OLD]) if c.reason == "explore"}.values()
    assert budget_fields(Outcome(REQUEST, tried, 100, 1.0, 0.1, (2,) * 100, (0,) * 100))["excess"] > 0


@pytest.mark.parametrize(("steps", "requests", "reason"), [(860, 4.6, "spec"), (100, 20, "spec"), (100, 5, "vanilla")])
def test_what_long_answers_taught_counts(steps: float, requests: float, reason: str) -> None:
    """225 steps an answer age the count of requests so fast that it never passes five; the steps are what is known."""
    knowledge = knowing({})
    knowledge.install(taught("old@1", 0.8, steps, requests), NOW)
    asked = Request("m", "translation", temperature=0, measured=False)
    choice = ADAPTIVE.decide(asked, [VANILLA, OLD], knowledge, NOW, 0.5)
    assert (choice.pool == "old", choice.reason) == (reason == "spec", Reason.UNMEASURED)
