"""From what an operator sends, YAML or JSON or a mapping, to a document; and what is wrong with it."""

import json
from collections.abc import Mapping

import yaml

from policies.document import Document, parse_document
from policies.errors import DocumentError, Problem
from router.steering.errors import Invalid

MOST_CHARS = 1024 * 1024
MOST_NODES = 100_000
WHOLE = "(document)"

Written = str | Mapping[str, object]
"""A policy as an operator hands it in: YAML or JSON text, or the same decoded."""


def validate(written: Written) -> tuple[Problem, ...]:
    """Everything wrong with a policy; empty where nothing is."""
    try:
        read(written)
    except Invalid as error:
        return error.problems
    return ()


def read(written: Written) -> Document:
    """The document; Invalid with every problem."""
    try:
        return parse_document(decoded(written))
    except DocumentError as error:
        raise Invalid(error.found) from None


def decoded(written: Written) -> Mapping[str, object]:
    """The mapping that a text stands for, empty for an empty one; Invalid where it is none."""
    if not isinstance(written, str):
        return written
    if len(written) > MOST_CHARS:
        raise Invalid([Problem(WHOLE, None, f"{len(written)} characters; at most {MOST_CHARS} are read")])
    try:
        found = yaml.load(written, Loader=_Loader)
        _check_size(found, MOST_NODES)
    except yaml.YAMLError as error:
        raise Invalid([Problem(_place(error), None, f"not YAML: {_said(error)}")]) from None
    except (RecursionError, ValueError) as error:
        raise Invalid([Problem(WHOLE, None, f"not YAML: {error}")]) from None
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:  # binary, dates, half of a surrogate pair
        raise Invalid([Problem(WHOLE, None, f"holds what JSON does not: {error}")]) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Invalid([Problem(WHOLE, None, f"must be a mapping, it is a {type(found).__name__}")])
    return found


def _check_size(node: object, left: int) -> int:
    """What is left of a number of nodes; ValueError where there are more, as a few aliases of aliases can make."""
    left -= 1
    if left < 0:
        raise ValueError(f"with its aliases written out it has more than {MOST_NODES} parts")
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for part in parts:
        left = _check_size(part, left)
    return left


class _Loader(yaml.SafeLoader):
    """YAML that refuses what is written twice, of which only the last would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """One mapping; each name once."""
        seen: set[object] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.MarkedYAMLError(problem=f"names must be text, not {name!r}", problem_mark=key.start_mark)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name!r} stands here twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return WHOLE if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"


def _said(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error)
