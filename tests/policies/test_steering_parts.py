"""The pure parts of steering: differences, dry runs, shadows' sums, and the tests that stop a canary."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.choice import Choice
from policies.document import Document, parse_document
from policies.knowledge import Knowledge
from policies.policy import POLICIES
from policies.replica import Pool, Replica, StepTime
from policies.request import Request
from policies.steering_compare import Pair, PairSums, compared
from policies.steering_diff import differences
from policies.steering_log import ALTERNATIVES, Decision, Ending, decision_of
from policies.steering_replay import dry_run
from policies.steering_trials import ArmSums, Limits, beyond, judged, merged
from policies.task import TASKS

PROBE = tuple(
    StepTime(b, k, 8 + 0.03 * b + 0.02 * b * k + (0.2 + 0.8 * k if k else 0)) for b in (1, 4, 8) for k in (0, 1, 4)
)
VANILLA = Pool("vanilla", "m", "t@1")
SPEC = Pool("spec", "m", "t@1", "d@1", "draft_model", 8)
REPLICAS = [Replica("v0", VANILLA, probe=PROBE), Replica("s0", SPEC, probe=PROBE)]
PROBES = {"v0": PROBE, "s0": PROBE}
NOW = 1.7e9


def recorded(count: int, replicas: list[Replica] = REPLICAS) -> list[Decision]:
    """So many decisions of the default policy over all tasks."""
    knowledge, policy = Knowledge(), POLICIES["adaptive"]
    found = []
    for at in range(count):
        request = Request("m", TASKS[at % len(TASKS)], temperature=0, affinity="session-7")
        choice = policy.decide(request, replicas, knowledge, NOW + at, 0.5)
        found.append(decision_of(f"r{at}", "router", request, choice, Ending("finished", 40, 8.0), NOW + at, replicas))
    return found


def test_a_draft_that_changes_nothing_changes_nothing() -> None:
    """The same document over the same decisions: same pools, same k, ratio 1 without doubt."""
    report = dry_run(recorded(50), Knowledge(), Knowledge(), PROBES)
    assert report.decisions == 50
    assert (report.total.pool_changed, report.total.k_changed, report.total.ratio) == (0, 0, 1)
    assert (report.total.low, report.total.high) == (1, 1)


def test_a_dry_run_tells_what_a_cap_costs() -> None:
    """A cap on one task moves that task alone, and its time with an interval that holds the estimate."""
    draft = parse_document({"tasks": {"sql_generation": {"k": 1}}})
    report = dry_run(recorded(200), Knowledge(), Knowledge(draft), PROBES)
    changed = {task.task for task in report.tasks if task.k_changed > 0}
    assert changed == {"sql_generation"}
    (sql,) = (task for task in report.tasks if task.task == "sql_generation")
    assert sql.mean_k[1] == 1 < sql.mean_k[0]
    assert sql.ratio > 1.05
    assert report.total.low <= report.total.ratio <= report.total.high
    assert report.total.low < report.total.high


def test_a_thousand_decisions_are_replayed_in_two_seconds() -> None:
    """On one core, with the intervals."""
    decisions = recorded(1000)
    began_s = time.process_time()
    report = dry_run(decisions, Knowledge(), Knowledge(parse_document({"policy": "always_vanilla"})), PROBES)
    assert report.decisions == 1000
    assert time.process_time() - began_s < 2


def test_what_cannot_be_replayed_is_counted() -> None:
    """Replicas that were not ready serve nobody."""
    (decision,) = recorded(1)
    down = [Replica("v0", VANILLA, state="down")]
    lost = decision_of("x", "r", decision.request, _choice(), Ending("failed"), NOW, down)
    object.__setattr__(lost, "alternatives", tuple(one for one in lost.alternatives if one.engine.state == "down"))
    report = dry_run([lost], Knowledge(), Knowledge(), PROBES)
    assert (report.decisions, report.left_out) == (0, {"no_replica": 1})


def _choice() -> Choice:
    return POLICIES["always_vanilla"].decide(Request("m", "other"), REPLICAS, Knowledge(), NOW, 0.5)


def test_a_record_holds_no_text_and_no_session() -> None:
    """Of many replicas only the best are kept, the chosen one among them."""
    many = [Replica(f"s{i}", SPEC, running=i, probe=PROBE) for i in range(40)] + REPLICAS[:1]
    (decision,) = recorded(1, many)
    assert decision.request.affinity is None
    assert len(decision.alternatives) == ALTERNATIVES
    assert decision.replica in {one.engine.name for one in decision.alternatives}
    assert {one.engine.pool.name for one in decision.alternatives} == {"vanilla", "spec"}


def test_differences_name_fields_and_follow_rules_that_moved() -> None:
    """A rule put first is one difference, not one for every rule behind it."""
    rules = [{"name": name, "then": {"k": {"min": 1, "max": 2}}} for name in "abc"]
    new = {"name": "first", "then": {"mode": "vanilla"}}
    (found,) = differences({"rules": rules}, {"rules": [new, *rules]})
    assert (found.path, found.before, found.after) == ("rules.0", None, new)
    changed = [*rules[:2], {"name": "c", "then": {"k": {"min": 1, "max": 4}}}]
    (found,) = differences({"rules": rules}, {"rules": changed})
    assert (found.path, found.before, found.after) == ("rules.2.then.k.max", 2, 4)
    assert differences({"a": 1}, {"a": 1}) == ()


@given(st.lists(st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)), min_size=2, max_size=40))
def test_sums_of_pairs_add_up_over_routers(times: list[tuple[float, float]]) -> None:
    """Two routers' sums are those of all pairs; their ratio is the bootstrap's."""
    pairs = [Pair("t", "a", 1, now, "b", 2, then) for now, then in times]
    one, other, both = PairSums(), PairSums(), PairSums()
    for at, pair in enumerate(pairs):
        (one if at % 2 else other).add(pair)
        both.add(pair)
    assert one.merge(other.row()).row() == pytest.approx(both.row())
    assert compared("t", pairs).ratio == pytest.approx(both.comparison("t").ratio)


def arms(draws: random.Random, count: int, share: float = 0.2, slower: float = 1.0) -> tuple[ArmSums, ArmSums]:
    """The rest and a canary after so many requests of tasks that differ fourfold, times spread by 30 %."""
    rest, canary = ArmSums(), ArmSums()
    for _ in range(count):
        ours = draws.random() < share
        task = draws.randrange(4)
        arm = canary if ours else rest
        arm.requests += 1
        arm.timed(f"t{task}", 0.005 * (task + 1) * draws.lognormvariate(0, 0.3) * (slower if ours else 1))
    return rest, canary


def test_a_slower_canary_is_found_and_an_equal_one_is_not() -> None:
    """15 % slower is found within 3,000 requests; equal ones, looked at 30 times, raise less than one alarm in 20."""
    limits = Limits()
    rest, canary = arms(random.Random(1), 3000, slower=1.15)
    found = judged(rest, canary, limits)
    assert found.fault is not None
    assert "time per token" in found.fault
    assert found.low < 0.15 < found.high
    alarms = 0
    for seed in range(60):
        draws, rest, canary = random.Random(seed), ArmSums(), ArmSums()
        for _ in range(30):
            more = arms(draws, 40)
            rest.merge(more[0])
            canary.merge(more[1])
            if judged(rest, canary, limits).fault:
                alarms += 1
                break
    assert alarms <= 3


def test_a_mix_of_tasks_is_no_slowness() -> None:
    """A canary that happens to get the slow tasks is compared task by task."""
    rest, canary = arms(random.Random(3), 2000, share=0.0)[0], ArmSums()
    draws = random.Random(4)
    for _ in range(300):
        canary.requests += 1
        canary.timed("t3", 0.02 * draws.lognormvariate(0, 0.3))
    assert not (judged(rest, canary, Limits()).fault or "").startswith("time per token")


def test_each_kind_of_harm_stops_a_canary() -> None:
    """Errors, guard trips and a longer tail, each with its figures."""
    rest, canary = arms(random.Random(5), 2000)
    canary.errors = 20
    assert "20 of" in (judged(rest, canary, Limits()).fault or "")
    rest, canary = arms(random.Random(5), 2000)
    canary.trips = 4
    assert (judged(rest, canary, Limits()).fault or "").startswith("guard")
    rest, canary = arms(random.Random(5), 2000)
    for _ in range(20):
        canary.timed("t0", 0.5)
    assert (judged(rest, canary, Limits(slower=1.0)).fault or "").startswith("p99")


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.01, 0.6))
def test_fair_events_are_rarely_beyond_their_odds(seed: int, share: float) -> None:
    """Looked at after each of 200 events: at α = .0001 a fair coin practically never is."""
    draws, ours, theirs = random.Random(seed), 0, 0
    for _ in range(200):
        if draws.random() < share:
            ours += 1
        else:
            theirs += 1
        assert not beyond(ours, theirs, share / (1 - share), 1e-4)
    assert beyond(30, 0, share / (1 - share), 1e-4) or share > 0.5


def test_histograms_merge() -> None:
    """The p99 of two routers together is right to a bucket."""
    one, other = ArmSums(), ArmSums()
    for at in range(1, 1001):
        (one if at % 2 else other).timed("t", at / 1000)
    assert merged([one, other]).arm().p99_ms_per_token == pytest.approx(990, rel=0.06)


def test_default_documents_stay_as_they_were() -> None:
    """What was valid before there were segments' objectives, hours by zone and caps still is, and means the same."""
    old = {
        "objective": {"kind": "mean_time", "harm": 1},
        "tasks": {"legal_analysis": {"mode": "vanilla"}, "sql_generation": {"acceptance": 0.9, "k": {"min": 2}}},
        "rules": [{"when": {"temperature_above": 0.9}, "then": {"k": {"min": 1, "max": 2}, "mode": "auto"}}],
        "windows": [{"from_hour": 9, "to_hour": 18, "days": [0, 4], "k_max": 3, "utc_offset_h": 1}],
    }
    document = parse_document(old)
    assert document.version == 1
    assert document == Document.model_validate(document.model_dump(mode="json"))
