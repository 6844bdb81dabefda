"""A policy as text in the editor: what is shown of a version, its problems in their places, what a suggestion does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from policies.problems import UNKNOWN_FIELD
from router.console.yaml_places import Place, key_place, place_of

EMPTY = "# A policy: every field is optional. What is not set here has its default.\nversion: 1\n"


@dataclass(frozen=True, slots=True)
class Found:
    """A problem of the text: where it stands, and the text after taking up the suggestion, where there is one.

    `is_warning`: the policy may be used all the same.
    """

    path: str
    message: str
    allowed: str
    place: Place
    nearest: str = ""
    mended: str = ""
    is_warning: bool = False


def text_of(version: Mapping[str, Any]) -> str:
    """A version as it was typed, else its document as YAML."""
    if version.get("text"):
        return str(version["text"])
    document = version.get("document") or {}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100) if document else EMPTY


def found_in(
    text: str, problems: Sequence[Mapping[str, Any]], warnings: Sequence[Mapping[str, Any]] = ()
) -> list[Found]:
    """The problems that the Admin API named, each in its place, in the order of the text."""
    found = [_found(text, problem) for problem in problems]
    found += [replace(_found(text, warning), is_warning=True) for warning in warnings]
    return sorted(found, key=lambda one: one.place.start)


def decorations(found: Sequence[Found]) -> list[dict[str, Any]]:
    """CodeMirror's marks of the problems."""
    return [
        {
            "kind": "mark",
            "from": one.place.start,
            "to": one.place.end,
            "class": "cm-doubtful" if one.is_warning else "cm-wrong",
        }
        for one in found
    ]


def tooltips(found: Sequence[Found]) -> dict[int, str]:
    """What a line's problems are, by line."""
    said: dict[int, str] = {}
    for one in found:
        said[one.place.line] = f"{said[one.place.line]}\n{one.message}" if one.place.line in said else one.message
    return said


def _found(text: str, problem: Mapping[str, Any]) -> Found:
    path, nearest = str(problem["path"]), problem.get("nearest") or ""
    message = str(problem["message"])
    # What is unknown is a name, which may be a field's or stand where a value does; all else is said of a value.
    is_name = message == UNKNOWN_FIELD or (message.startswith("unknown") and path.endswith(str(problem["value"])))
    place = (key_place(text, path) if is_name else None) or place_of(text, path)
    fits = nearest and place.end <= len(text) and not (place.is_key and not is_name)
    mended = f"{text[: place.start]}{nearest}{text[place.end :]}" if fits else ""
    return Found(path, message, _allowed(problem.get("allowed")), place, nearest, mended)


def _allowed(allowed: object) -> str:
    if isinstance(allowed, (list, tuple)):
        return ", ".join(str(one) for one in allowed)
    return str(allowed or "")
