"""What may stand in a setting, in words made of the models' types: for the command, the Admin API and the reference."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, JsonValue, SecretStr
from pydantic.fields import FieldInfo

WORDS: Mapping[object, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret text",
    type(None): "unset",
    object: "anything",
    JsonValue: "JSON",
}

OR_UNSET = " or unset"


def kind_of(info: FieldInfo) -> str:
    """What a field takes, with its bounds: `whole number from 1 to 65535`, `text or unset`."""
    kind = _kind(info.annotation)
    rest = kind.removesuffix(OR_UNSET)
    return _bounded(rest, info.metadata) + (OR_UNSET if rest != kind else "")


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(_kind(inner[0]), inner[1:])
    if origin is Literal:
        return "one of " + ", ".join(str(one) for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in sorted(inner, key=_is_none)))
    if origin in (tuple, list, set, frozenset):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"mapping of {_kind(inner[0])} to {_kind(inner[1])}"
    return WORDS.get(annotation) or _named(annotation)


def _is_none(annotation: Any) -> bool:
    return annotation is type(None)


def _named(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "one of " + ", ".join(str(one.value) for one in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.__name__
    value = getattr(annotation, "__value__", None)  # a name given to a type
    return _kind(value) if value is not None else "anything"


def _bounded(kind: str, constraints: Iterable[object]) -> str:
    return " ".join([kind, *_bounds(constraints)])


def _bounds(constraints: Iterable[object]) -> Iterator[str]:
    for one in constraints:
        if isinstance(one, FieldInfo):
            yield from _bounds(one.metadata)
        elif text := _bound(one):
            yield text


def _bound(one: object) -> str:
    match one:
        case annotated_types.Ge(ge=least):
            return f"from {least}"
        case annotated_types.Gt(gt=least):
            return f"above {least}"
        case annotated_types.Le(le=most):
            return f"to {most}"
        case annotated_types.Lt(lt=most):
            return f"below {most}"
    pattern = getattr(one, "pattern", None)
    return f"like {pattern}" if pattern else ""
