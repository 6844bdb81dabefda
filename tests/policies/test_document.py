"""The policy document: what it accepts, and how it says what it does not."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from policies.document import Document, json_schema, parse_document
from policies.errors import DocumentError
from policies.rules import Objective


def test_the_empty_document_is_the_default_policy() -> None:
    """Nothing set: the adaptive policy with its defaults."""
    assert parse_document({}) == Document()
    assert Document().policy == "adaptive"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"kil_switch": True}, ("kil_switch: unknown field", "did you mean 'kill_switch'?")),
        ({"drift": {"alrm": 3}}, ("drift.alrm: unknown field", "did you mean 'alarm'?", "slack")),
        ({"rules": [{"then": {"modes": "auto"}}]}, ("rules.0.then.modes", "did you mean 'mode'?")),
        ({"tasks": {"sql_generation": {"k": {"mx": 4}}}}, ("tasks.sql_generation.k.mx", "did you mean 'max'?")),
        ({"policy": "fastest"}, ("policy: 'fastest'", "adaptive", "always_vanilla")),
        ({"hysteresis": {"gain": 3}}, ("hysteresis.gain: 3", "less than or equal to 1")),
        ({"tasks": {"x": {"k": {"min": 5, "max": 2}}}}, ("tasks.x.k", "min 5 is above max 2")),
        ({"objective": {"kind": "speed"}}, ("objective.kind: 'speed'", "goodput")),
    ],
)
def test_problems_name_path_value_and_what_is_allowed(data: dict[str, object], says: tuple[str, ...]) -> None:
    """Each problem is one line with the path, the value, what is allowed and the nearest name."""
    with pytest.raises(DocumentError) as caught:
        parse_document(data)
    assert len(caught.value.problems) == 1
    for part in says:
        assert part in caught.value.problems[0]


RICH: dict[str, object] = {
    "policy": "adaptive",
    "objective": {"kind": "goodput", "harm": 0.5, "targets": {"chat": {"tpot_ms": 40, "ttft_ms": 900}}},
    "objectives": {"batch": {"kind": "cheapest"}},
    "tasks": {"sql_generation": {"acceptance": 0.9, "k": {"min": 2, "max": 6}, "mode": "on", "pools": ["draft"]}},
    "rules": [
        {
            "name": "hot",
            "when": {
                "task": ["creative_writing"],
                "temperature_above": 0.9,
                "output_tokens_above": 20,
                "headers": {"x-team": ["search"]},
                "hours": {"from_hour": 9, "to_hour": 17, "days": [0, 4], "zone": "Europe/Berlin"},
                "load_above": 0.5,
            },
            "then": {"speculation": "auto", "k": 3, "priority": 2, "objective": {"harm": 0}, "temperature_max": 0.7},
        }
    ],
    "windows": [{"from_hour": 22, "to_hour": 6, "k_max": 2, "utc_offset_h": 1}],
    "safeguards": {"short_output_tokens": 8, "tools": "vanilla", "kv_usage": 0.8},
    "exploration": {"budget": 0.002, "enabled": True},
    "hysteresis": {"gain": 0.01},
    "drift": {"alarm": 8, "probes": 10},
    "guard": {"confidence": 0.9, "off_s": 60},
    "article": {"enable": 0.7, "disable": 0.4},
}
FREE_NAMES = {"targets", "tasks", "objectives", "headers"}
"""Mappings whose names the operator chooses."""

WRONG: tuple[object, ...] = (
    None,
    [],
    {},
    "nonsense",
    -1e9,
    1e9,
    [None],
    {"no": "such"},
    float("nan"),
    "\x00",
    [[]],
    b"x",
    object(),
)


def places(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from places(inner, (*path, name))


def broken(draws: random.Random) -> tuple[dict[str, object], str] | None:
    """A valid document with one field renamed or one value replaced, and where; None where that is valid too."""
    document = copy.deepcopy(RICH)
    path = draws.choice(list(places(document)))
    parent: Any = document
    for part in path[:-1]:
        parent = parent[part]
    rename = isinstance(path[-1], str) and draws.random() < 0.4 and (len(path) < 2 or path[-2] not in FREE_NAMES)
    if rename:
        at = draws.randrange(len(str(path[-1])))
        parent[f"{str(path[-1])[:at]}~{str(path[-1])[at + 1 :]}"] = parent.pop(path[-1])
        return document, ".".join(map(str, path[:-1]))
    before, parent[path[-1]] = parent[path[-1]], draws.choice(WRONG)
    schema_default = parent[path[-1]] in (None, {}, []) or isinstance(before, str)
    try:
        parse_document(document)
    except DocumentError:
        return document, ".".join(map(str, path))
    assert schema_default or isinstance(parent[path[-1]], float), (path, parent[path[-1]])
    return None


def test_a_thousand_broken_documents_are_refused_with_their_place() -> None:
    """What one mutation breaks is told at its path, or at the part it is in; never another error, never accepted."""
    draws, refused = random.Random(11), 0
    while refused < 1000:
        found = broken(draws)
        if found is None:
            continue
        document, path = found
        with pytest.raises(DocumentError) as caught:
            parse_document(document)
        told = [problem.path for problem in caught.value.found]
        assert any(one.startswith(path) or path.startswith(one) for one in told), (path, told)
        assert all(problem.message for problem in caught.value.found)
        refused += 1


@pytest.mark.parametrize(
    ("data", "path", "nearest"),
    [
        ({"policy": "adaptiv"}, "policy", "adaptive"),
        ({"rules": [{"then": {"mode": "specultive"}}]}, "rules.0.then.mode", "speculative"),
        ({"rules": [{"then": {}, "wen": {}}]}, "rules.0.wen", "when"),
        ({"objective": {"kind": "godput"}}, "objective.kind", "goodput"),
        (
            {"windows": [{"from_hour": 1, "to_hour": 2, "k_max": 1, "zone": "Europe/Berln"}]},
            "windows.0.zone",
            "Europe/Berlin",
        ),
        ({"rules": [{"then": {"k": {"mx": 3}}}]}, "rules.0.then.k.mx", "max"),
    ],
)
def test_the_nearest_right_word_is_told(data: dict[str, object], path: str, nearest: str) -> None:
    """Of fields, of words that are listed, of time zones."""
    with pytest.raises(DocumentError) as caught:
        parse_document(data)
    (problem,) = caught.value.found
    assert (problem.path, problem.nearest) == (path, nearest)


def test_a_header_that_may_hold_a_secret_is_no_condition() -> None:
    """What rules read is kept with decisions."""
    with pytest.raises(DocumentError, match="may hold a secret"):
        parse_document({"rules": [{"when": {"headers": {"Authorization": []}}, "then": {}}]})


@pytest.mark.parametrize(
    ("word", "mode"), [("on", "speculative"), (True, "speculative"), ("off", "vanilla"), (False, "vanilla")]
)
def test_on_and_off_are_modes(word: object, mode: str) -> None:
    """As words, and as the truth values that YAML makes of bare ones."""
    assert parse_document({"tasks": {"x": {"mode": word}}}).tasks["x"].mode == mode
    assert parse_document({"rules": [{"then": {"speculation": word}}]}).rules[0].then.wanted == mode


def test_a_kind_alone_is_the_objective_with_another_kind() -> None:
    """For a segment and in a rule; what is written in full says it all."""
    base = {"harm": 0.5, "targets": {"chat": {"tpot_ms": 40.0}}}
    rules = [{"then": {"objective": "cheapest"}}, {"then": {"objective": {"kind": "cheapest"}}}, {"then": {"k": 2}}]
    objectives = {"chat": "goodput", "batch": {"kind": "cheapest"}}
    document = parse_document({"rules": rules, "objectives": objectives, "objective": base})
    assert document.objectives["chat"] == document.objective.model_copy(update={"kind": "goodput"})
    assert document.objectives["batch"] == Objective(kind="cheapest")
    assert [rule.then.objective for rule in document.rules] == [
        document.objective.model_copy(update={"kind": "cheapest"}),
        Objective(kind="cheapest"),
        None,
    ]
    for dumped in (document.model_dump(mode="json"), document.model_dump(mode="json", exclude_defaults=True)):
        assert parse_document(dumped) == document


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"objectives": {"chat": "godput"}}, ["objectives.chat.kind"]),
        ({"rules": [{"then": {"objective": "godput"}}]}, ["rules.0.then.objective.kind"]),
        ({"objective": {"harm": 9}, "objectives": {"chat": "goodput"}}, ["objective.harm"]),
    ],
)
def test_what_is_wrong_with_an_objective_is_said_once(data: dict[str, object], paths: list[str]) -> None:
    """Where it stands, and not where a kind alone would have copied it."""
    with pytest.raises(DocumentError) as caught:
        parse_document(data)
    assert [problem.path for problem in caught.value.found] == paths


def test_the_schema_is_one_that_editors_can_use() -> None:
    """It accepts what is accepted, refuses what is refused, and describes every field."""
    schema = json_schema()
    check = jsonschema_rs.Draft202012Validator(schema)
    assert check.is_valid(RICH)
    assert not check.is_valid({"kil_switch": True})
    assert not check.is_valid({"tasks": {"x": {"mode": "of"}}})
    assert all("description" in field for field in schema["properties"].values())  # type: ignore[attr-defined]
