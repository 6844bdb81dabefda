"""What looks like a slip in a valid policy, and that nothing is said of what matters."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.coverage import covers
from policies.deployment import Deployment
from policies.document import Document, parse_document
from policies.errors import Problem
from policies.replica import Pool, Replica
from policies.request import Request
from policies.rules import When
from policies.terms import Moment, applies, asked_of, objective_of, terms
from policies.warnings import said, warnings_of

HERE = Deployment(
    ("sql_generation", "other"), {"draft": 4, "ngram": 8, "vanilla": 0}, ("demo",), ("batch", "chat", "default")
)


def found(document: dict[str, Any]) -> dict[str, Problem]:
    """The warnings about a document here, by path."""
    return {one.path: one for one in warnings_of(parse_document(document), HERE)}


def test_a_policy_that_fits_has_no_warning() -> None:
    """Nor has an empty one."""
    fits = {
        "objectives": {"batch": "cheapest"},
        "tasks": {"sql_generation": {"k": {"min": 2, "max": 8}}, "other": {"k": 4, "pools": ["draft", "vanilla"]}},
        "rules": [
            {"when": {"temperature_above": 0.9}, "then": {"mode": "off"}},
            {"when": {"segment": ["chat"], "temperature_above": 0.5, "temperature_at_most": 0.9}, "then": {"k": 2}},
        ],
        "windows": [
            {"from_hour": 22, "to_hour": 6, "k_max": 3},
            {"from_hour": 22, "to_hour": 6, "k_max": 0, "days": [5]},
        ],
    }
    assert found({}) == found(fits) == {}


@pytest.mark.parametrize(
    ("document", "path", "nearest"),
    [
        ({"rules": [{"when": {"segment": ["bach"]}, "then": {"k": 1}}]}, "rules.0.when.segment.0", "batch"),
        ({"windows": [{"from_hour": 1, "to_hour": 2, "k_max": 1, "segment": "chta"}]}, "windows.0.segment", "chat"),
        ({"objectives": {"bacth": "goodput"}}, "objectives.bacth", "batch"),
        ({"objective": {"targets": {"chatt": {"ttft_ms": 9}}}}, "objective.targets.chatt", "chat"),
        (
            {"rules": [{"then": {"objective": {"targets": {"defautl": {}}}}}]},
            "rules.0.then.objective.targets.defautl",
            "default",
        ),
    ],
)
def test_a_segment_that_no_request_has(document: dict[str, Any], path: str, nearest: str) -> None:
    """Wherever a policy names one, with those that limits.segments allows."""
    (warning,) = found(document).values()
    assert (warning.path, warning.nearest, warning.allowed) == (path, nearest, ("batch", "chat", "default"))


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        ({"tasks": {"other": {"k": 9}}}, "tasks.other.k", 9),
        ({"tasks": {"other": {"k": {"min": 2, "max": 12}}}}, "tasks.other.k.max", 12),
        ({"rules": [{"then": {"k": {"min": 5, "max": 7}, "pools": ["draft", "vanilla"]}}]}, "rules.0.then.k.min", 5),
        ({"exploration": {"k": 9}}, "exploration.k", 9),
        ({"windows": [{"from_hour": 1, "to_hour": 2, "k_max": 8}]}, "windows.0.k_max", 8),
        ({"tasks": {"other": {"k": 2, "pools": ["vanilla"]}}}, "tasks.other.k", 2),
        ({"rules": [{"when": {"tools": True}, "then": {"speculation": "on", "pools": ["vanilla"]}}]}, None, None),
    ],
)
def test_a_k_that_no_pool_takes(document: dict[str, Any], path: str | None, value: int | None) -> None:
    """By the pools that it is for, all where none are named; with what each of them takes."""
    by_path = found(document)
    path = path or "rules.0.then.speculation"
    warning = by_path[path]
    assert warning.value == (value if value is not None else "speculative")
    assert "vanilla (vanilla)" in warning.allowed


def test_where_a_name_is_unknown_nothing_more_is_said() -> None:
    """How deep a pool is that is not there, nobody knows."""
    assert set(found({"rules": [{"when": {"tools": True}, "then": {"k": 9, "pools": ["h100"]}}]})) == {
        "rules.0.then.pools.0"
    }


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"rules": [{"then": {"mode": "off"}}]}, "rules.0.then.mode"),
        ({"rules": [{"then": {"speculation": False}}]}, "rules.0.then.speculation"),
        ({"rules": [{"then": {"k": 0}}, {"then": {"priority": 1}}]}, "rules.0.then.k"),
        ({"tasks": {"sql_generation": {"mode": "off"}, "other": {"k": 0}}}, "tasks"),
        ({"windows": [{"from_hour": 0, "to_hour": 24, "k_max": 0}]}, "windows.0.k_max"),
    ],
)
def test_pools_that_never_speculate_are_named(document: dict[str, Any], path: str) -> None:
    """Speculation is off for every request, and nothing gives it back."""
    assert found(document)[path].message == "no request ever speculates: draft, ngram would stand idle"


def test_speculation_that_a_later_rule_gives_back_is_no_warning() -> None:
    """It is how one turns it off for all but some."""
    some = {"when": {"task": ["sql_generation"]}, "then": {"mode": "auto"}}
    assert found({"rules": [{"then": {"mode": "off"}}, some]}) == {}


def test_a_pool_that_no_rule_allows_is_named() -> None:
    """Where a rule for all names others, or every task does."""
    assert found({"rules": [{"then": {"pools": ["draft"]}}]})["rules.0.then.pools"].message == (
        "no request ever speculates in ngram: none may go there"
    )
    tasks = {"sql_generation": {"pools": ["draft"]}, "other": {"pools": ["draft", "vanilla"]}}
    assert set(found({"tasks": tasks})) == {"tasks"}
    some = {"when": {"tools": True}, "then": {"pools": ["ngram"]}}
    assert found({"tasks": tasks, "rules": [some]}) == {}
    assert found({"rules": [{"then": {"pools": ["draft"]}}, some]}) == {}


@pytest.mark.parametrize(
    ("when", "field"),
    [
        ({"task": []}, "task"),
        ({"temperature_above": 0.9, "temperature_at_most": 0.9}, "temperature_above"),
        ({"load_above": 0.5, "load_at_most": 0.4}, "load_above"),
        ({"temperature_above": 2}, "temperature_above"),
        ({"max_tokens_below": 1}, "max_tokens_below"),
        ({"confidence_below": 0}, "confidence_below"),
        ({"hours": {"from_hour": 1, "to_hour": 2, "days": []}}, "hours.days"),
    ],
)
def test_conditions_that_never_hold(when: dict[str, Any], field: str) -> None:
    """The field is named that no request meets."""
    assert found({"rules": [{"when": when, "then": {"k": 2}}]})[f"rules.0.when.{field}"].message.startswith("never ")


def test_a_rule_that_later_ones_undo_is_named() -> None:
    """By one that applies wherever it does, or by several that set each a part of it."""
    shallow = {"name": "shallow", "when": {"task": ["other"], "tools": True}, "then": {"k": 2, "priority": 3}}
    deep = {"when": {"task": ["other", "sql_generation"]}, "then": {"k": 4}}
    first = {"when": {"tools": True}, "then": {"priority": 1}}
    warning = found({"rules": [shallow, deep, first]})["rules.0"]
    assert warning.value == "shallow"
    assert warning.message.endswith("rules.1 and rules.2 set all of it wherever it applies")
    assert found({"rules": [shallow, deep]}) == {}
    assert found({"rules": [deep, shallow, {"then": {}}]})["rules.2.then"].message.startswith("changes nothing")


def test_windows_that_never_matter() -> None:
    """One without days, one under a stricter one; and hours that begin when they end are told to be a whole day."""
    night = {"from_hour": 22, "to_hour": 6, "k_max": 3}
    paths = found({"windows": [night, {**night, "segment": "batch", "k_max": 3}, {**night, "days": []}, night]})
    assert set(paths) == {"windows.1.k_max", "windows.2.days", "windows.3.k_max"}
    assert "24 hours" in found({"windows": [{**night, "to_hour": 22}]})["windows.0.to_hour"].message


def test_goodput_without_a_target_is_named() -> None:
    """It is the mean time then: for all, for a segment that has none of its own and no default, by a rule."""
    bare = {"objective": {"kind": "goodput"}, "objectives": {"chat": "goodput"}, "rules": [RULED]}
    assert set(found(bare)) == {"objective.kind", "objectives.chat", "rules.0.then.objective"}
    assert "mean_time" in found(bare)["objectives.chat"].message
    assert set(found({**bare, "objective": {"targets": {"chat": {}}}})) == {"objectives.chat", "rules.0.then.objective"}
    for segment, left in (("default", set()), ("chat", set()), ("batch", {"objectives.chat"})):
        aimed = {**bare, "objective": {"kind": "goodput", "targets": {segment: {"ttft_ms": 500}}}}
        assert set(found(aimed)) == left


RULED = {"when": {"tools": True}, "then": {"objective": "goodput"}}


def test_a_segment_of_the_objective_s_targets_is_named_where_it_stands() -> None:
    """Not once more for each kind alone that takes them over."""
    aimed = {"targets": {"chatt": {"ttft_ms": 9}, "default": {"ttft_ms": 9}}}
    document = {"objective": aimed, "objectives": {"chat": "goodput"}, "rules": [RULED]}
    assert set(found(document)) == {"objective.targets.chatt"}


def test_a_warning_in_a_line() -> None:
    """Path, value cut to a length, why, the nearest word and what there is."""
    (warning,) = found({"rules": [{"when": {"segment": ["chta"]}, "then": {"k": 1}}]}).values()
    assert said(warning) == (
        "rules.0.when.segment.0: 'chta': unknown segment: this deployment has none of the name; did you mean 'chat'? "
        "(there are: batch, chat, default)"
    )
    assert len(said(replace(warning, value="x" * 999))) < 300


def test_a_policy_of_thousands_of_rules_is_no_burden() -> None:
    """Beyond some hundreds of rules they are not compared with each other, but all else is said."""
    rules: list[dict[str, Any]] = [{"then": {"k": 2}}] * 3000 + [{"when": {"task": []}, "then": {"k": 2}}]
    assert set(found({"rules": rules})) == {"rules.3000.when.task"}


FEW = st.sampled_from([0, 0.5, 1])
WHENS = st.fixed_dictionaries(
    {},
    optional={
        "task": st.lists(st.sampled_from(["sql_generation", "other"]), max_size=2),
        "temperature_above": FEW,
        "temperature_at_most": FEW,
        "tools": st.booleans(),
        "headers": st.dictionaries(st.sampled_from(["A", "b"]), st.lists(st.sampled_from(["x", "y"]), max_size=2)),
        "max_tokens_below": st.sampled_from([1, 2, 50]),
    },
)
THENS = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["auto", "on", "off"]),
        "k": st.integers(0, 5),
        "pools": st.lists(st.sampled_from(["draft", "ngram", "vanilla"]), max_size=2),
        "objective": st.sampled_from(["goodput", "cheapest"]),
        "priority": st.integers(0, 2),
        "top_p_max": st.sampled_from([0.5, 0.9]),
    },
)
RULES = st.lists(st.fixed_dictionaries({"when": WHENS, "then": THENS}), max_size=4)
REQUESTS = st.builds(
    Request,
    model=st.just("demo"),
    task=st.sampled_from(["sql_generation", "other"]),
    temperature=st.sampled_from([0.0, 0.3, 0.7, 1.0, 1.5]),
    tools=st.booleans(),
    max_tokens=st.sampled_from([None, 1, 20, 100]),
    headers=st.sampled_from([(), (("a", "x"),), (("a", "x"), ("b", "y"))]),
)
NOW = Moment(0.0, 100.0)
POOLS = [Replica(name, Pool(name, "demo", "t", k_max=k_max)) for name, k_max in HERE.pools.items()]


def _decided(request: Request, document: Document) -> tuple[object, ...]:
    found = replace(terms(request, document, 100.0, 0.0, POOLS), reason=None, objective=None)
    return found, asked_of(request, document, NOW), objective_of(request, document, NOW)


@given(RULES, st.lists(REQUESTS, min_size=1, max_size=8))
def test_a_rule_that_is_said_to_decide_nothing_may_be_left_out(
    rules: list[dict[str, Any]], requests: list[Request]
) -> None:
    """Whatever the request, all is as before without it."""
    whole = {"tasks": {"other": {"mode": "off", "k": 3}}, "rules": rules}
    idle = {
        int(one.path.split(".")[1])
        for one in warnings_of(parse_document(whole))
        if one.message.startswith(("decides nothing", "changes nothing", "never holds"))
    }
    for at in idle:
        without = parse_document({**whole, "rules": rules[:at] + rules[at + 1 :]})
        for request in requests:
            assert _decided(request, parse_document(whole)) == _decided(request, without)


@given(WHENS, WHENS, REQUESTS)
def test_what_covers_applies_wherever_the_other_does(
    wide: dict[str, Any], narrow: dict[str, Any], one: Request
) -> None:
    """And everything covers itself."""
    outer, inner = When.model_validate(wide), When.model_validate(narrow)
    assert covers(inner, inner)
    if covers(outer, inner) and applies(inner, one, NOW):
        assert applies(outer, one, NOW)


@given(RULES, REQUESTS)
def test_a_pool_that_is_said_to_stand_idle_gets_no_request(rules: list[dict[str, Any]], request: Request) -> None:
    """No request may speculate there, whatever it is."""
    document = parse_document({"rules": rules})
    for warning in warnings_of(document, HERE):
        if not warning.message.startswith("no request ever speculates"):
            continue
        allowed = terms(request, document, 100.0, 0.0, POOLS)
        idle = [name for name in HERE.speculative if name in warning.message]
        assert idle
        for name in idle:
            assert allowed.k_max == 0 or (allowed.pools is not None and name not in allowed.pools)
