"""From the bytes of a body to a checked request, refusing what vLLM refuses in vLLM's order and words."""

import json
from typing import TypeVar

import orjson
from pydantic import ValidationError

from engines.simulator.errors import bad_value, invalid_json, missing_body, wrong_types
from engines.simulator.requests import Body, ChatRequest, CompletionRequest

BodyT = TypeVar("BodyT", bound=Body)


def parse_body(kind: type[BodyT], raw: bytes) -> BodyT:
    """The body as `kind`; `ApiError` where it is not JSON or does not fit."""
    decoded = _decode(raw)
    if decoded is None:
        raise missing_body()
    if isinstance(decoded, dict):
        _check_before_types(kind, decoded)
    try:
        return kind.model_validate(decoded)
    except ValidationError as error:
        # The same field comes first as in vLLM: `param` names the first error.
        errors = error.errors(include_url=False)
        raise wrong_types(sorted(errors, key=lambda one: one["loc"][:1] not in (("messages",), ("prompt",)))) from None


def _decode(raw: bytes) -> object:
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            # FastAPI reports positions and reasons of the standard library's decoder.
            return json.loads(raw)
        except json.JSONDecodeError as reason:
            raise invalid_json(reason.pos, reason.msg) from None
        except (UnicodeDecodeError, RecursionError):
            raise invalid_json(error.pos, "Expecting value") from None


def _check_before_types(kind: type[Body], body: dict[str, object]) -> None:
    """The rules that vLLM checks before the types of the fields."""
    if body.get("stream_options") and not body.get("stream"):
        raise bad_value("Stream options can only be defined when `stream=True`.", "stream_options")
    if kind is CompletionRequest and body.get("prompt") in (None, ""):
        raise bad_value("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    if kind is ChatRequest:
        _check_tools(body)
        _check_logprobs(body)


def _check_logprobs(body: dict[str, object]) -> None:
    top = body.get("top_logprobs")
    if top is not None and not isinstance(top, int | float):
        raise bad_value("`top_logprobs` must be an integer.", "top_logprobs", top)
    if top and not body.get("logprobs"):
        raise bad_value("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")


def _check_tools(body: dict[str, object]) -> None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools == []:
        raise bad_value(
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.", "tools"
        )
    if choice in (None, "none"):
        return
    if tools is None:
        raise bad_value("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if choice not in ("auto", "required") and not isinstance(choice, dict):
        raise bad_value(
            f'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.',
            "tool_choice",
        )
    if isinstance(choice, dict) and isinstance(tools, list) and _tool_name(choice) not in map(_tool_name, tools):
        raise bad_value(
            "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"
        )


def _tool_name(tool: object) -> object:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None
