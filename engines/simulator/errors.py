"""vLLM 0.32's error answers, shape for shape: a client of the simulator must not learn other ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from pydantic_core import ErrorDetails

REPORTED_ERRORS = 10
"""vLLM cuts the list of validation errors here, so that a small bad body cannot make a huge answer."""

INPUT_CHARS = 200

LOC_MARKERS = frozenset({"str", "int", "float", "bool", "bytes", "list", "dict", "union", "nullable"})
"""Segments of a pydantic `loc` that name a branch of a union rather than a field."""


@dataclass(frozen=True, slots=True)
class ApiError(Exception):
    """A request that is answered with an OpenAI error object."""

    message: str
    type: str = "BadRequestError"
    param: str | None = None
    status: int = HTTPStatus.BAD_REQUEST

    @property
    def body(self) -> bytes:
        """The JSON of the answer."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": int(self.status)}
        return orjson.dumps({"error": error})


def bad_value(message: str, param: str, value: object = None) -> ApiError:
    """A field of the right type with a value that is not allowed."""
    shown = f", value={value}" if value is not None else ""
    return ApiError(f"{message} (parameter={param}{shown})", param=param)


def unknown_model(asked: str, served: str) -> ApiError:
    """A model that this engine does not serve."""
    message = f"The model `{asked}` does not exist. Valid aliases: {served}."
    return ApiError(message, "NotFoundError", "model", HTTPStatus.NOT_FOUND)


def unsupported_media_type() -> ApiError:
    """A body not declared as JSON."""
    message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
    return ApiError(message, HTTPStatus.BAD_REQUEST.phrase)


def invalid_json(position: int, reason: str) -> ApiError:
    """A body that is not JSON."""
    entry = {
        "type": "json_invalid",
        "loc": f"body.{position}",
        "msg": "JSON decode error",
        "input": "<dict of 0 items>",
        "ctx": {"error": reason},
    }
    return _validation_error([str(entry)], f"body.{position}")


def missing_body() -> ApiError:
    """No body, or `null`."""
    entry = {"type": "missing", "loc": "body", "msg": "Field required", "input": "None"}
    return _validation_error([str(entry)], "body")


def missing_fields(*names: str) -> ApiError:
    """A body that lacks every one of the fields of which it needs one."""
    rest = {"msg": "Field required", "input": "<dict of 0 items>"}
    return _validation_error([str({"type": "missing", "loc": f"body.{n}"} | rest) for n in names], f"body.{names[0]}")


def wrong_types(errors: Sequence[ErrorDetails]) -> ApiError:
    """A body whose fields do not have the types they must have."""
    locs = [".".join(("body", *_field_names(error["loc"]))) for error in errors]
    return _validation_error([_entry(e, loc) for e, loc in zip(errors, locs, strict=True)], locs[0])


def _validation_error(entries: list[str], param: str) -> ApiError:
    label = "error" if len(entries) == 1 else "errors"
    lines = [f"{len(entries)} validation {label}:", *(f"  {entry}" for entry in entries[:REPORTED_ERRORS])]
    if len(entries) > REPORTED_ERRORS:
        lines.append(f"  ...and {len(entries) - REPORTED_ERRORS} more {label}")
    return ApiError("\n".join(lines), HTTPStatus.BAD_REQUEST.phrase, param)


def _field_names(loc: tuple[int | str, ...]) -> list[str]:
    return [str(part) for part in loc if str(part) not in LOC_MARKERS and not set("[]{}()") & set(str(part))]


def _entry(error: ErrorDetails, loc: str) -> str:
    shown = {"type": error["type"], "loc": loc, "msg": error["msg"], "input": _summary(error["input"])}
    if "ctx" in error:
        shown["ctx"] = str(error["ctx"])
    return str(shown)


def _summary(value: object) -> str:
    if isinstance(value, list | dict):
        return f"<{type(value).__name__} of {len(value)} items>"
    text = str(value)
    return text if len(text) <= INPUT_CHARS else text[:INPUT_CHARS] + "...[truncated]"
