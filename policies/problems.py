"""What is wrong with a document, from pydantic's errors: path, value, what is allowed, the nearest right word."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from policies.errors import Problem

Schema = dict[str, Any]
"""A node of a JSON Schema."""

Place = tuple[int | str, ...]

SHOWN_CHARS = 80

UNKNOWN_FIELD = "unknown field"


def problems_of(model: type[BaseModel], errors: Sequence[ErrorDetails]) -> tuple[Problem, ...]:
    """One problem for each of pydantic's errors."""
    schema = _schema_of(model)
    return tuple(_problem(schema, detail) for detail in errors)


@cache
def _schema_of(model: type[BaseModel]) -> Schema:
    """Made once: it takes longer than all the checks."""
    return model.model_json_schema()


def _problem(schema: Schema, detail: ErrorDetails) -> Problem:
    place, value = detail["loc"], detail["input"]
    path = ".".join(str(part) for part in place) or "(document)"
    if detail["type"] == "extra_forbidden":
        allowed = names_at(schema, place[:-1])
        return Problem(path, value, UNKNOWN_FIELD, allowed, nearest(place[-1], allowed))
    said = detail["msg"].removeprefix("Value error, ")
    words = words_at(schema, place)
    shown = repr(value) if len(repr(value)) <= SHOWN_CHARS else f"{repr(value)[:SHOWN_CHARS]}…"
    named = detail.get("ctx", {}).get("nearest")
    return Problem(path, value, f"{shown}: {said}", words, named or nearest(value, words))


def nearest(value: object, allowed: Sequence[str]) -> str | None:
    """The allowed word that is most like the value; None where none is."""
    near = get_close_matches(str(value), allowed, n=1)
    return near[0] if near else None


def names_at(schema: Schema, place: Place) -> tuple[str, ...]:
    """The fields that the schema allows in the mapping at a place (list indices and free names included)."""
    return tuple(name for node in _at(schema, place) for name in node.get("properties", {}))


def words_at(schema: Schema, place: Place) -> tuple[str, ...]:
    """The words that the schema allows at a place where it lists them."""
    return tuple(str(word) for node in _at(schema, place) for word in [*node.get("enum", ()), *_constant(node)])


def _constant(node: Schema) -> list[object]:
    return [node["const"]] if "const" in node else []


def _at(schema: Schema, place: Place) -> list[Schema]:
    nodes = _options(schema, schema)
    for part in place:
        inner = [found for node in nodes if (found := _inner(node, part)) is not None]
        nodes = [option for node in inner for option in _options(schema, node)]
    return nodes


def _inner(node: Schema, part: int | str) -> Schema | None:
    found = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
    found = found if found is not None else node.get("additionalProperties")
    return found if isinstance(found, dict) else None


def _options(schema: Schema, node: Schema) -> list[Schema]:
    """What a node may be: itself, what it refers to, or each of its alternatives."""
    if "$ref" in node:
        return _options(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    alternatives = node.get("anyOf") or node.get("oneOf")
    if alternatives is None:
        return [node]
    return [found for option in alternatives for found in _options(schema, option)]
