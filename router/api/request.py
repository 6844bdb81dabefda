"""Reading a request for text: from bytes to the few facts that routing needs, with errors that name the field.

Only what the router itself reads is checked here; the engine checks the rest and its error is passed on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from policies.quick import quick
from router.api.body import (
    Body,
    check_fields,
    check_xargs,
    decode,
    read_boolean,
    read_list,
    read_name,
    read_number,
    read_object,
    read_whole,
    with_model,
)
from router.api.dialect import ANTHROPIC, OPENAI, RESPONSES, Dialect
from router.api.fields import CHAT_FIELDS, COMPLETIONS_FIELDS, MESSAGES_FIELDS, RESPONSES_FIELDS
from router.api.prompts import chat_chars, completions_chars, messages_chars, prompt_count, responses_chars
from router.errors import BadRequest

Speculation = Literal["auto", "on", "off"]
SPECULATION: tuple[Speculation, ...] = ("auto", "on", "off")

MAX_TEMPERATURE = 2.0

XARGS, STREAM_OPTIONS = "vllm_xargs", "stream_options"
_WRITTEN = frozenset({XARGS, STREAM_OPTIONS})


@dataclass(frozen=True, slots=True)
class Route:
    """One route that is routed by task: where each fact stands in its body.

    `measured`: vLLM answers with its metrics, and where it streams, with the usage chunk that `stream_options` asks
    for. The Messages API carries no metrics and the Responses API times alone: nothing is learnt from either.
    """

    path: str
    summary: str
    fields: frozenset[str]
    required: tuple[str, ...]
    dialect: Dialect
    measured: bool
    prompt_chars: Callable[[Body], int]
    max_tokens_fields: tuple[str, ...]
    has_grammar: Callable[[Body], bool]
    unsupported: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Generation:
    """The facts of one request for text; `raw` is the client's JSON as it came and `body` the same decoded.

    `gives`: those of the fields that the router may write which the client gave itself.
    """

    route: Route
    raw: bytes
    body: Body
    model: str
    stream: bool
    wants_usage: bool
    temperature: float
    top_p: float
    max_tokens: int | None
    choices: int
    tools: bool
    grammar: bool
    prompt_chars: int
    gives: frozenset[str] = frozenset()

    @property
    def asks_usage(self) -> bool:
        """Whether the router has to ask for the usage chunk itself, which it then keeps."""
        return self.stream and self.route.measured and not self.wants_usage

    def sampled_as(self, temperature: float, top_p: float) -> "Generation":
        """The same where an engine that samples like this answers it: what the client did not say is the engine's."""
        said = self.body.get
        temperature = temperature if said("temperature") is None else self.temperature
        top_p = top_p if said("top_p") is None else self.top_p
        if (temperature, top_p) == (self.temperature, self.top_p):
            return self
        return replace(self, temperature=temperature, top_p=top_p)

    def under(self, model: str) -> "Generation":
        """The same for the name under which engines serve the model."""
        if model == self.model:
            return self
        raw = with_model(self.raw, self.body, model)
        return replace(self, raw=raw, body={**self.body, "model": model}, model=model)

    def understood(self) -> "Generation":
        """The same once its facts are read: what is decoded takes up to twenty times as much memory as the JSON."""
        return replace(self, body={})

    def begun(self) -> "Generation":
        """The same once its answer has begun: no engine will be asked again."""
        return replace(self, raw=b"", body={})


def parse_generation(route: Route, raw: bytes, *, xargs: frozenset[str], extra_fields: frozenset[str]) -> Generation:
    """Decode and check a request body; `xargs` and `extra_fields` are what the operator allows beyond the API.

    Raises BadRequest naming the first field that is wrong.
    """
    body = decode(raw)
    check_fields(body, route.fields | extra_fields)
    check_xargs(body, xargs)
    _refuse_state(route, body)
    stream = read_boolean(body, "stream", default=False)
    return Generation(
        route=route,
        raw=raw,
        body=body,
        model=read_name(body, "model"),
        stream=stream,
        wants_usage=_wants_usage(body, stream=stream),
        temperature=read_number(body, "temperature", default=1.0, low=0.0, high=MAX_TEMPERATURE),
        top_p=_top_p(body),
        max_tokens=_max_tokens(body, route.max_tokens_fields),
        choices=_choices(body) if route.measured else 1,
        tools=bool(read_list(body, "tools") or read_list(body, "functions")),
        grammar=route.has_grammar(body),
        prompt_chars=route.prompt_chars(body),
        gives=_WRITTEN & body.keys(),
    )


def _top_p(body: Body) -> float:
    """A figure that is none, or out of range, is the engine's to refuse."""
    said = body.get("top_p")
    return float(said) if isinstance(said, int | float) else 1.0


def _refuse_state(route: Route, body: Body) -> None:
    """An answer that one engine keeps cannot be found again behind a router that may choose another."""
    for field in route.unsupported:
        if body.get(field):
            message = f"{field} is not supported: engines keep no answers that their replicas share."
            raise BadRequest(message, param=field, code="unsupported_value")


def _wants_usage(body: Body, *, stream: bool) -> bool:
    options = read_object(body, STREAM_OPTIONS)
    if options is None:
        return False
    if not stream:
        message = "stream_options is only allowed when stream is true."
        raise BadRequest(message, param="stream_options", code="invalid_value")
    return read_boolean(options, "include_usage", default=False, path="stream_options.include_usage")


def _max_tokens(body: Body, fields: tuple[str, ...]) -> int | None:
    # 0 with `echo` asks for the prompt's own log-probabilities.
    limits = [read_whole(body, field, default=1, low=0) for field in fields if body.get(field) is not None]
    return min(limits) if limits else None


def _choices(body: Body) -> int:
    beams = read_boolean(body, "use_beam_search", default=False)
    return read_whole(body, "n", default=1, low=1) * prompt_count(body.get("prompt")) + beams


def _chat_grammar(body: Body) -> bool:
    wanted = read_object(body, "response_format")
    plain = wanted is None or wanted.get("type") == "text"
    return not plain or read_object(body, "structured_outputs") is not None


def _responses_grammar(body: Body) -> bool:
    text = read_object(body, "text") or {}
    wanted = read_object(text, "format", path="text.format")
    plain = wanted is None or wanted.get("type") == "text"
    return not plain or read_object(body, "structured_outputs") is not None


def _messages_grammar(body: Body) -> bool:
    config = read_object(body, "output_config") or {}
    return read_object(config, "format", path="output_config.format") is not None


CHAT = Route(
    path="/v1/chat/completions",
    summary="Answer a chat",
    fields=CHAT_FIELDS,
    required=("model", "messages"),
    dialect=OPENAI,
    measured=True,
    prompt_chars=chat_chars,
    max_tokens_fields=("max_completion_tokens", "max_tokens"),
    has_grammar=_chat_grammar,
)
COMPLETIONS = Route(
    path="/v1/completions",
    summary="Continue a text",
    fields=COMPLETIONS_FIELDS,
    required=("model",),
    dialect=OPENAI,
    measured=True,
    prompt_chars=completions_chars,
    max_tokens_fields=("max_tokens",),
    has_grammar=_chat_grammar,
)
RESPONSES_ROUTE = Route(
    path="/v1/responses",
    summary="Answer in OpenAI's Responses API",
    fields=RESPONSES_FIELDS,
    required=("model", "input"),
    dialect=RESPONSES,
    measured=False,
    prompt_chars=responses_chars,
    max_tokens_fields=("max_output_tokens",),
    has_grammar=_responses_grammar,
    unsupported=("background", "previous_response_id", "conversation"),
)
MESSAGES = Route(
    path="/v1/messages",
    summary="Answer in Anthropic's Messages API",
    fields=MESSAGES_FIELDS,
    required=("model", "messages", "max_tokens"),
    dialect=ANTHROPIC,
    measured=False,
    prompt_chars=messages_chars,
    max_tokens_fields=("max_tokens",),
    has_grammar=_messages_grammar,
)
ROUTES = {route.path: route for route in (CHAT, COMPLETIONS, RESPONSES_ROUTE, MESSAGES)}
"""Routes that generate text, by path."""
