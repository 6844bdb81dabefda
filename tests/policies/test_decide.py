"""Decisions: what is chosen, by which rule, and that nothing odd makes it fail."""

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.baselines import undecided
from policies.cells import Drafts, demand, score_of
from policies.choice import Load, Reason
from policies.document import Document, parse_document
from policies.errors import NoReplica
from policies.keys import Key, decode_key
from policies.knowledge import Knowledge
from policies.learning import task_delta
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.records import EMPTY, Record, apply
from policies.replica import Pool, Replica, StepTime
from policies.request import Request
from policies.scoring import _favoured
from policies.task import TASKS
from policies.terms import Range

PROBE = tuple(
    StepTime(b, k, 8 + 0.03 * b + 0.02 * b * k + (0.2 + 0.8 * k if k else 0)) for b in (1, 4, 8) for k in (0, 1, 4)
)
VANILLA = Pool("vanilla", "m", "t@1")
SPEC = Pool("spec", "m", "t@1", "d@1", "draft_model", 8, 4000)
LOOKUP = Pool("lookup", "m", "t@1", None, "ngram", 8)
REPLICAS = [Replica("v0", VANILLA, probe=PROBE), Replica("s0", SPEC, probe=PROBE)]
ADAPTIVE = POLICIES["adaptive"]
NOW = 1.7e9


def known(task: str, h: float, drafter: str = "d@1", weight: float = 5000.0) -> dict[str, Record]:
    """A record that makes a task's acceptance certain."""
    fields = {f"s{i}": weight * h for i in range(1, 9)} | {f"e{i}": weight for i in range(1, 9)}
    key = Key("t@1", drafter, task, "default", "0").encode()
    return {key: Record(fields | {"n": 100.0, "vv": 100.0, "vb": 100.0, "ee": 1e6}, NOW)}


def knowing(document: Document | None = None, **tasks: float) -> Knowledge:
    """Knowledge with certain acceptances, without random trials."""
    calm = {"exploration": {"enabled": False}, "guard": {"enabled": False}}
    knowledge = Knowledge(document or parse_document(calm))
    for task, h in tasks.items():
        knowledge.install(known(task, h), NOW)
    return knowledge


def test_each_task_gets_the_k_that_pays() -> None:
    """Sure drafts run deep, doubtful ones shallow, hopeless ones not at all."""
    knowledge = knowing(sql_generation=0.95, summarization=0.6, creative_writing=0.02)
    chosen = {
        task: ADAPTIVE.decide(Request("m", task, temperature=0), REPLICAS, knowledge, NOW, 0.5)
        for task in ("sql_generation", "summarization", "creative_writing")
    }
    assert chosen["sql_generation"].k >= 6
    assert 1 <= chosen["summarization"].k <= 4
    assert (chosen["creative_writing"].pool, chosen["creative_writing"].k) == ("vanilla", 0)


def test_load_lowers_k() -> None:
    """The same task drafts less in a full batch than in an empty one."""
    knowledge = knowing(summarization=0.7)
    request = Request("m", "summarization", temperature=0)
    full = Replica("s0", SPEC, running=200, mean_k=2.0, max_k=2, k_shares=tuple(0.1 * k for k in range(9)), probe=PROBE)
    empty = ADAPTIVE.decide(request, REPLICAS[1:], knowledge, NOW, 0.5)
    busy = ADAPTIVE.decide(request, [full], knowledge, NOW, 0.5)
    assert busy.k < empty.k


def test_the_better_drafter_is_chosen_per_task() -> None:
    """Lookup wins where it copies, the model drafter elsewhere."""
    knowledge = knowing(code_generation=0.3, translation=0.8)
    knowledge.install(known("code_generation", 0.9, "ngram") | known("translation", 0.05, "ngram"), NOW)
    replicas = [*REPLICAS, Replica("n0", LOOKUP, probe=PROBE)]
    code = ADAPTIVE.decide(Request("m", "code_generation", temperature=0), replicas, knowledge, NOW, 0.5)
    prose = ADAPTIVE.decide(Request("m", "translation", temperature=0), replicas, knowledge, NOW, 0.5)
    assert (code.pool, prose.pool) == ("lookup", "spec")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request("m", "sql_generation", temperature=0, max_tokens=8), Reason.SHORT_OUTPUT),
        (Request("m", "sql_generation", temperature=0, n=2), Reason.SEVERAL_ANSWERS),
        (Request("m", "sql_generation", temperature=0, speculation="off"), Reason.REQUESTED),
    ],
)
def test_safeguards_send_a_sure_task_to_vanilla(request_: Request, reason: Reason) -> None:
    """Short answers, several answers, and a client that says so."""
    choice = ADAPTIVE.decide(request_, REPLICAS, knowing(sql_generation=0.95), NOW, 0.5)
    assert (choice.k, choice.reason) == (0, reason)


def test_answers_cut_by_their_limit_do_not_make_a_task_short() -> None:
    """A thousand requests limited to 8 tokens leave one without a limit speculating; its length is not theirs."""
    knowledge = knowing(sql_generation=0.95)
    limited = Request("m", "sql_generation", temperature=0, max_tokens=8)
    choice = ADAPTIVE.decide(limited, REPLICAS, knowledge, NOW, 0.5)
    records = dict(knowledge.records)
    for _ in range(1000):
        delta = task_delta(Outcome(limited, choice, output_tokens=8), knowledge)
        records[delta.key] = apply(records.get(delta.key, EMPTY), delta, NOW)
    knowledge.install(records, NOW)
    assert ADAPTIVE.decide(Request("m", "sql_generation", temperature=0), REPLICAS, knowledge, NOW, 0.5).k >= 6


def test_a_client_that_asks_for_speculation_gets_it_for_a_short_answer() -> None:
    """The safeguard against short answers is for those who leave the choice."""
    request = Request("m", "sql_generation", temperature=0, max_tokens=8, speculation="on")
    choice = ADAPTIVE.decide(request, REPLICAS, knowing(sql_generation=0.95), NOW, 0.5)
    assert (choice.pool, choice.reason) == ("spec", Reason.REQUESTED)


@pytest.mark.parametrize(
    "replica",
    [
        Replica("s0", SPEC, kv_usage=0.98, probe=PROBE),
        Replica("s0", SPEC, sampled_speculation=False, probe=PROBE),
        Replica("s0", SPEC, state="draining", probe=PROBE),
        Replica("s0", SPEC, state="down", probe=PROBE),
    ],
)
def test_replicas_that_must_not_speculate_do_not(replica: Replica) -> None:
    """KV pressure, unsafe sampling, draining, down: the vanilla replica serves."""
    request = Request("m", "sql_generation", temperature=0.5)
    choice = ADAPTIVE.decide(request, [REPLICAS[0], replica], knowing(sql_generation=0.95), NOW, 0.5)
    assert (choice.pool, choice.k) == ("vanilla", 0)


def test_kv_pressure_caps_k_at_one() -> None:
    """Above the first threshold a sure task still drafts, once."""
    full = Replica("s0", SPEC, kv_usage=0.93, probe=PROBE)
    choice = ADAPTIVE.decide(
        Request("m", "sql_generation", temperature=0), [full], knowing(sql_generation=0.95), NOW, 0.5
    )
    assert choice.k <= 1


def test_a_prompt_beyond_the_drafter_goes_to_vanilla() -> None:
    """The drafter's largest context is a limit."""
    request = Request("m", "sql_generation", temperature=0, prompt_tokens=4000)
    assert ADAPTIVE.decide(request, REPLICAS, knowing(sql_generation=0.95), NOW, 0.5).pool == "vanilla"


@pytest.mark.parametrize(
    ("document", "pool", "k"),
    [
        ({"kill_switch": True}, "vanilla", 0),
        ({"observe_only": True}, "vanilla", 0),
        ({"tasks": {"sql_generation": {"mode": "vanilla"}}}, "vanilla", 0),
        ({"tasks": {"sql_generation": {"k": {"min": 2, "max": 2}}}}, "spec", 2),
        ({"rules": [{"when": {"task": ["sql_generation"]}, "then": {"k": {"min": 1, "max": 3}}}]}, "spec", 3),
        ({"rules": [{"when": {"segment": ["batch"]}, "then": {"mode": "vanilla"}}]}, "spec", None),
        ({"windows": [{"from_hour": 0, "to_hour": 24, "k_max": 2}]}, "spec", 2),
        ({"windows": [{"from_hour": 0, "to_hour": 24, "k_max": 0}]}, "vanilla", 0),
        ({"tasks": {"sql_generation": {"pools": ["vanilla"]}}}, "vanilla", 0),
    ],
)
def test_the_operators_word(document: dict[str, object], pool: str, k: int | None) -> None:
    """Switches, task entries, rules and windows bind the choice."""
    calm = {"exploration": {"enabled": False}, "guard": {"enabled": False}}
    knowledge = knowing(parse_document(calm | document), sql_generation=0.95)
    choice = ADAPTIVE.decide(Request("m", "sql_generation", temperature=0), REPLICAS, knowledge, NOW, 0.5)
    assert choice.pool == pool
    assert k is None or choice.k == k


def test_observing_tells_what_it_would_have_done() -> None:
    """Observe-only serves vanilla and reports the speculative preference."""
    knowledge = knowing(Document(observe_only=True), sql_generation=0.95)
    choice = ADAPTIVE.decide(Request("m", "sql_generation", temperature=0), REPLICAS, knowledge, NOW, 0.5)
    assert (choice.k, choice.reason, choice.best_pool) == (0, Reason.OBSERVE, "spec")
    assert choice.best_k > 0


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_nobody_there_is_an_error_that_says_why(policy: str) -> None:
    """Every policy refuses with the state of each replica it saw."""
    with pytest.raises(NoReplica, match="v0: draining"):
        POLICIES[policy].decide(Request("m"), [Replica("v0", VANILLA, state="draining")], Knowledge(), NOW, 0.5)


@pytest.mark.parametrize("policy", sorted(POLICIES))
@given(
    task=st.sampled_from([*TASKS, "unheard of"]),
    temperature=st.floats(0, 2),
    uniform=st.floats(0, 1, exclude_max=True),
    replicas=st.lists(
        st.builds(
            Replica,
            st.sampled_from(["a", "b", "c", "d"]),
            st.sampled_from([VANILLA, SPEC, LOOKUP]),
            running=st.integers(0, 300),
            waiting=st.integers(0, 50),
            kv_usage=st.floats(0, 1),
            mean_k=st.floats(0, 8),
            max_k=st.integers(0, 8),
            sampled_speculation=st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
    tools=st.booleans(),
    speculation=st.sampled_from(["auto", "on", "off"]),
)
@settings(max_examples=40, deadline=None)
def test_every_policy_decides_within_limits(policy, task, temperature, uniform, replicas, tools, speculation) -> None:  # type: ignore[no-untyped-def]
    """Any traffic, any fleet: a replica that was offered, a k that its pool has, sampling never speculated unsafely."""
    request = Request("m", task, temperature=temperature, tools=tools, speculation=speculation)
    knowledge = Knowledge()
    choice = POLICIES[policy].decide(request, replicas, knowledge, NOW, uniform)
    assert choice.engine in replicas
    assert 0 <= choice.k <= choice.engine.pool.k_max
    if temperature > 0 and not choice.engine.sampled_speculation:
        assert choice.k == 0
    knowledge.commit(request, choice)
    lesson = POLICIES[policy].learn(Outcome(request, choice, finished=False), knowledge, NOW)
    knowledge.absorb(lesson.deltas, NOW)


def test_bad_records_are_ignored_and_counted() -> None:
    """Another version's keys, negative sums and future clocks never make a table."""
    knowledge = Knowledge()
    bad = {
        "acc:nonsense": Record({"e1": 1.0}, NOW),
        "acc:x|y": Record({"s1": -4.0}, NOW),
        "step:a": Record({"w": 1.0}, NOW),
        "task:a": Record({}, NOW + 1e6),
    }
    knowledge.install(bad, NOW)
    assert dict(knowledge.ignored) == {"record_key": 2, "record_value": 1, "record_future": 1}
    assert not knowledge.records


@given(st.text(), st.text(), st.text(), st.text())
@settings(deadline=None)
def test_keys_survive_the_store(target: str, drafter: str, task: str, segment: str) -> None:
    """Any name, separators included, is read back as it was."""
    key = Key(target, drafter, task, segment, "low", "tools")
    assert decode_key(key.encode()) == key


def test_a_habit_is_kept_unless_the_gain_is_worth_it() -> None:
    """A k that is a hair better does not change what a class does; a much better one does."""
    knowledge = knowing(
        parse_document({"hysteresis": {"gain": 0.2}, "exploration": {"enabled": False}}), sql_generation=0.9
    )
    request = Request("m", "sql_generation", temperature=0)
    first = ADAPTIVE.decide(request, REPLICAS, knowledge, NOW, 0.5)
    knowledge.commit(request, first)
    knowledge.install(known("sql_generation", 0.93), NOW)
    assert ADAPTIVE.decide(request, REPLICAS, knowledge, NOW, 0.5).k == first.k
    knowledge.install(known("sql_generation", 0.3), NOW)
    assert ADAPTIVE.decide(request, REPLICAS, knowledge, NOW, 0.5).k < first.k


def test_a_session_returns_to_its_replica() -> None:
    """Equal replicas: a session always meets the same one, other sessions spread."""
    fleet = [Replica(f"s{i}", SPEC, probe=PROBE) for i in range(4)]
    knowledge, rng = knowing(sql_generation=0.9), random.Random(1)
    seen: dict[str, set[str]] = {}
    for session in (f"session-{i}" for i in range(12)):
        request = Request("m", "sql_generation", temperature=0, prompt_tokens=2000, affinity=session)
        seen[session] = {ADAPTIVE.decide(request, fleet, knowledge, NOW, rng.random()).replica for _ in range(5)}
    assert all(len(replicas) == 1 for replicas in seen.values())
    assert len(set().union(*seen.values())) > 1


def test_a_decision_is_quick() -> None:
    """Four pools of four replicas with eight k: well under a millisecond of CPU in the mean, even on a slow machine."""
    pools = [VANILLA, *(Pool(f"s{i}", "m", "t@1", f"d{i}", "eagle", 8) for i in range(3))]
    fleet = [
        Replica(f"{p.name}-{i}", p, running=5 + i, mean_k=2, max_k=3, probe=PROBE) for p in pools for i in range(4)
    ]
    knowledge, request = Knowledge(), Request("m", "sql_generation", temperature=0)
    ADAPTIVE.decide(request, fleet, knowledge, NOW, 0.5)
    started = time.thread_time()
    for i in range(200):
        ADAPTIVE.decide(request, fleet, knowledge, NOW, i / 200)
    assert (time.thread_time() - started) / 200 < 1e-3


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("document", [{"kill_switch": True}, {"observe_only": True}])
def test_every_policy_obeys_the_switches(policy: str, document: dict[str, object]) -> None:
    """The kill switch and observe-only send everything to vanilla under any policy."""
    knowledge = knowing(parse_document(document), sql_generation=0.95)
    choice = POLICIES[policy].decide(Request("m", "sql_generation", temperature=0), REPLICAS, knowledge, NOW, 0.5)
    assert (choice.pool, choice.k) == ("vanilla", 0)


def test_a_popular_prefix_spreads_over_replicas() -> None:
    """The replica it belongs to is passed over while it is too busy for its pool; the next one is as certain."""
    quiet = [Replica(f"s{i}", SPEC, probe=PROBE) for i in range(4)]
    request = Request("m", "sql_generation", temperature=0, prompt_tokens=2000, affinity="everybody's")
    (home,) = _favoured(request, quiet)
    busy = [replace(one, running=8) if one.name == home else one for one in quiet]
    (second,) = _favoured(request, busy)
    assert second != home
    assert _favoured(request, list(reversed(busy))) == {second}
    alike = [replace(one, running=8) for one in quiet]
    assert _favoured(request, alike) == {home}


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"adaptive", "always_vanilla"}))
@pytest.mark.parametrize(
    "allowed",
    [
        {"tasks": {"sql_generation": {"pools": ["b"]}}},
        {"rules": [{"name": "r", "when": {"task": ["sql_generation"]}, "then": {"pools": ["b"]}}]},
    ],
    ids=["of a task", "of a rule"],
)
def test_every_policy_keeps_to_the_pools_that_the_operator_names(policy: str, allowed: dict[str, object]) -> None:
    """A rule may change which replica of them it takes, not take another's."""
    knowledge = Knowledge(parse_document({"policy": policy, **allowed}))
    replicas = [Replica(f"{name}1", replace(SPEC, name=name)) for name in ("a", "b")]
    request = Request("m", "sql_generation", temperature=0)
    for uniform in (0.1, 0.5, 0.9):
        choice = POLICIES[policy].decide(request, replicas, knowledge, NOW, uniform)
        assert choice.pool == "b"


def test_where_a_policy_fails_the_operators_pools_still_hold() -> None:
    """The emptiest replica, a vanilla one first, of the pools that are named; nothing is drafted."""
    replicas = [*REPLICAS, replace(REPLICAS[1], name="s1", running=3), replace(REPLICAS[0], name="v1", running=3)]
    request = Request("m", "sql_generation", temperature=0)
    for uniform in (0.0, 0.3, 0.6, 0.9):
        for named, expected in (({}, "v0"), ({"tasks": {"sql_generation": {"pools": ["spec"]}}}, "s0")):
            knowledge = Knowledge(parse_document(named))
            choice = undecided(request, replicas, knowledge, NOW, uniform)
            assert (choice.replica, choice.k, choice.reason) == (expected, 0, Reason.UNDECIDED)
    with pytest.raises(NoReplica):
        undecided(request, [replace(one, state="down") for one in replicas], Knowledge(), NOW, 0.5)


def test_a_prefill_is_charged_for_those_it_holds_up() -> None:
    """A long prompt goes where fewer wait for it, a short one where the drafts are; an empty engine charges nothing."""
    busy = Load([0.01] * 3, [0.0001] * 3, [0.02] * 3, 41.0, False, 0.0, 0.0, 0.02, 40.0)
    curve = Drafts((1.0, 0.6, 0.5), (1.0, 0.6, 0.5), (0.0,) * 3)
    replica, asked = REPLICAS[1], {n: demand(Request("m", "x", prompt_tokens=n), 100.0, 1.0) for n in (0, 1000)}
    free, long = (score_of(asked[n], replica, busy, curve, Range(0, 2)) for n in (0, 1000))
    assert [b - a for a, b in zip(free.u_s, long.u_s, strict=True)] == pytest.approx([40 * 0.02 / 100] * 3)
    idle = replace(busy, others=0.0)
    assert score_of(asked[1000], replica, idle, curve, Range(0, 2)).u_s == free.u_s
    knowledge = knowing()
    batches = [
        replace(REPLICAS[1], name=f"s{n}", running=n, mean_k=2.0, max_k=2, mean_context_tokens=300) for n in (4, 40)
    ]
    crowds = [knowledge.load(batch, 1.0, NOW) for batch in batches]
    assert crowds[0].others * 5 < crowds[1].others
