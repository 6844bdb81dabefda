"""Reading a request: from bytes to the few facts that routing needs, with errors that name the field.

Only what the router itself reads is checked here; the engine checks the rest and its error is passed on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import orjson

from router.errors import BadRequest
from router.fields import CHAT_FIELDS, COMPLETIONS_FIELDS

Body = dict[str, object]
Speculation = Literal["auto", "on", "off"]
SPECULATION: tuple[Speculation, ...] = ("auto", "on", "off")

MAX_NAME_CHARS = 128
"""Longest task, segment or model name that a client may send: names become Redis keys and metric labels."""


@dataclass(frozen=True, slots=True)
class Route:
    """One OpenAI route that is routed by task: its path, its fields, and how its prompt is checked."""

    path: str
    fields: frozenset[str]
    prompt_field: str
    prompt_chars: Callable[[object], int]


@dataclass(frozen=True, slots=True)
class Generation:
    """The facts of one request for text; `raw` is the client's JSON as it came and `body` the same decoded."""

    route: Route
    raw: bytes
    body: Body
    model: str
    stream: bool
    wants_usage: bool
    temperature: float
    max_tokens: int | None
    choices: int
    tools: bool
    grammar: bool
    prompt_chars: int


def parse_generation(route: Route, raw: bytes, *, xargs: frozenset[str], extra_fields: frozenset[str]) -> Generation:
    """Decode and check a request body; `xargs` and `extra_fields` are what the operator allows beyond the API.

    Raises BadRequest naming the first field that is wrong.
    """
    body = _decode(raw)
    _known_fields(body, route.fields | extra_fields)
    _allowed_xargs(body, xargs)
    stream = _boolean(body, "stream", default=False)
    prompts = body.get(route.prompt_field)
    beams = _boolean(body, "use_beam_search", default=False)
    return Generation(
        route=route,
        raw=raw,
        body=body,
        model=_name(body, "model"),
        stream=stream,
        wants_usage=_wants_usage(body, stream=stream),
        temperature=_number(body, "temperature", default=1.0, low=0.0, high=2.0),
        max_tokens=_max_tokens(body),
        choices=_whole(body, "n", default=1, low=1) * _prompt_count(prompts) + beams,
        tools=bool(_list(body, "tools") or _list(body, "functions")),
        grammar=_has_grammar(body),
        prompt_chars=0 if prompts is None and body.get("prompt_embeds") else route.prompt_chars(prompts),
    )


def _decode(raw: bytes) -> Body:
    if not raw.strip():
        raise BadRequest("The body is empty: a JSON object is expected.", code="empty_body")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The body must be a JSON object, got {_type(body)}.", code="invalid_json")
    return body


def _known_fields(body: Body, known: frozenset[str]) -> None:
    if body.keys() <= known:
        return
    # Finding the nearest name takes time quadratic in the length, so only the head of a long one is looked at.
    field = next(field for field in body if field not in known)[:MAX_NAME_CHARS]
    near = get_close_matches(field, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BadRequest(f"Unknown field {field!r}.{hint}", param=field, code="unknown_field")


def _allowed_xargs(body: Body, allowed: frozenset[str]) -> None:
    xargs = _object(body, "vllm_xargs") or {}
    if xargs.keys() <= allowed:
        return
    path = f"vllm_xargs.{next(key for key in xargs if key not in allowed)[:MAX_NAME_CHARS]}"
    names = ", ".join(sorted(allowed)) or "none"
    raise BadRequest(f"{path!r} is not allowed here; allowed: {names}.", param=path, code="forbidden_field")


def _wants_usage(body: Body, *, stream: bool) -> bool:
    options = _object(body, "stream_options")
    if options is None:
        return False
    if not stream:
        message = "stream_options is only allowed when stream is true."
        raise BadRequest(message, param="stream_options", code="invalid_value")
    return _boolean(options, "include_usage", default=False, path="stream_options.include_usage")


def _max_tokens(body: Body) -> int | None:
    limits = [
        # 0 with `echo` asks for the prompt's own log-probabilities.
        _whole(body, field, default=1, low=0)
        for field in ("max_completion_tokens", "max_tokens")
        if body.get(field) is not None
    ]
    return min(limits) if limits else None


def _has_grammar(body: Body) -> bool:
    response_format = _object(body, "response_format")
    plain = response_format is None or response_format.get("type") == "text"
    return not plain or _object(body, "structured_outputs") is not None


def _prompt_count(prompt: object) -> int:
    return len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list) else 1


def _chat_chars(messages: object) -> int:
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", messages, "a list of at least one message")
    return sum(_message_chars(message, f"messages[{i}]") for i, message in enumerate(messages))


def _message_chars(message: object, path: str) -> int:
    if not isinstance(message, dict):
        raise _wrong(path, message, "an object with role and content")
    if not isinstance(message.get("role"), str):
        raise _wrong(f"{path}.role", message.get("role"), "a string such as 'user'")
    content = message.get("content")
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(_part_chars(part, f"{path}.content[{i}]") for i, part in enumerate(content))
    if content is None and message["role"] == "assistant":
        return 0
    raise _wrong(f"{path}.content", content, "a string or a list of content parts")


def _part_chars(part: object, path: str) -> int:
    if isinstance(part, str):
        return len(part)
    if not isinstance(part, dict):
        raise _wrong(path, part, "an object with a type")
    text = part.get("text")
    if text is not None and not isinstance(text, str):
        raise _wrong(f"{path}.text", text, "a string")
    return len(text or "")


def _prompt_chars(prompt: object) -> int:
    """Length of a completions prompt: text, or token ids counted as the four characters a token is on average."""
    if isinstance(prompt, str):
        return len(prompt)
    kinds = {type(part) for part in prompt} if isinstance(prompt, list) else set()
    if isinstance(prompt, list) and kinds == {int}:
        return 4 * len(prompt)
    if isinstance(prompt, list) and kinds == {str}:
        return sum(map(len, prompt))
    if isinstance(prompt, list) and kinds == {list} and all(type(token) is int for ids in prompt for token in ids):
        return sum(4 * len(ids) for ids in prompt)
    raise _wrong("prompt", prompt, "a string, a list of token ids, or a list of these")


def _name(body: Body, field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise _wrong(field, value, f"a string of 1 to {MAX_NAME_CHARS} characters")
    return value


def _boolean(body: Mapping[str, object], field: str, *, default: bool, path: str | None = None) -> bool:
    value = body.get(field)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _wrong(path or field, value, "true or false")
    return value


def _number(body: Body, field: str, *, default: float, low: float, high: float) -> float:
    value = body.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _wrong(field, value, f"a number from {low:g} to {high:g}")
    return float(value)


def _whole(body: Body, field: str, *, default: int, low: int) -> int:
    value = body.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise _wrong(field, value, f"a whole number of at least {low}")
    return value


def _list(body: Body, field: str) -> list[object] | None:
    value = body.get(field)
    if value is None or isinstance(value, list):
        return value
    raise _wrong(field, value, "a list")


def _object(body: Body, field: str) -> Body | None:
    value = body.get(field)
    if value is None or isinstance(value, dict):
        return value
    raise _wrong(field, value, "an object")


def _wrong(field: str, value: object, allowed: str) -> BadRequest:
    got = "nothing" if value is None else f"{_type(value)} {_short(value)}".strip()
    return BadRequest(f"{field} must be {allowed}, got {got}.", param=field, code="invalid_value")


def _type(value: object) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "the string", bool: "", type(None): "null"}
    return names.get(type(value), "the number")


def _short(value: object) -> str:
    """The value itself where it is short and says something; never a prompt."""
    if isinstance(value, dict | list):
        return f"of {len(value)}"
    if isinstance(value, str) and len(value) > 32:
        return f"of {len(value)} characters"
    return orjson.dumps(value).decode() if isinstance(value, bool) else repr(value)


CHAT = Route("/v1/chat/completions", CHAT_FIELDS, "messages", _chat_chars)
COMPLETIONS = Route("/v1/completions", COMPLETIONS_FIELDS, "prompt", _prompt_chars)
ROUTES = {route.path: route for route in (CHAT, COMPLETIONS)}
