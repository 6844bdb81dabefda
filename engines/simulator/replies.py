"""The bytes of an answer in vLLM's two dialects, chat and completions: whole bodies and stream chunks.

Chunks are put together from parts serialised once per request: a stream costs one string escape per chunk. The keys and
their order are those vLLM 0.32 sends.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import orjson

from engines.simulator.outputs import OutputPlan
from engines.simulator.tokens import TOKEN_BYTES, encode

FINGERPRINT = "vllm-0.32.0-simulator"

DONE = b"data: [DONE]\n\n"

TOP_LOGPROBS = 1
"""The simulator knows one candidate per position: the token it gave."""


@dataclass(frozen=True, slots=True)
class Head:
    """What every body and chunk of one answer repeats."""

    id: str
    created: int
    model: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer."""

    prompt_tokens: int
    completion_tokens: int

    def fields(self) -> dict[str, object]:
        """As in a body."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """One finished output: `text` is what the client reads, `plan` how it came about."""

    index: int
    text: str
    plan: OutputPlan


class Dialect(ABC):
    """How one endpoint words its answers; `done` ends its streams."""

    done = DONE

    def __init__(self, head: Head, object_name: str, *, logprobs: bool, include_usage: bool) -> None:
        self.head = head
        self.logprobs = logprobs
        self.include_usage = include_usage
        self._start = orjson.dumps(
            {"id": head.id, "object": object_name, "created": head.created, "model": head.model}
        ).removesuffix(b"}")

    @abstractmethod
    def opening(self, index: int) -> list[bytes]:
        """The chunks before any text."""

    @abstractmethod
    def piece(self, index: int, text: str, plan: OutputPlan, last: bool, usage: Usage | None) -> bytes:
        """One chunk of text; `usage` where the client wants it in every chunk."""

    @abstractmethod
    def body(self, choices: list[Choice], usage: Usage, metrics: dict[str, object] | None) -> bytes:
        """The whole answer, not streamed."""

    def usage_chunk(self, usage: Usage, metrics: dict[str, object] | None) -> bytes:
        """The chunk after the last text; vLLM leaves out what is null here."""
        tail: dict[str, object] = {"choices": [], "usage": usage.fields(), "system_fingerprint": FINGERPRINT}
        if metrics is not None:
            tail["metrics"] = {name: value for name, value in metrics.items() if value is not None}
        return b"".join((b"data: ", self._start, b",", orjson.dumps(tail)[1:], b"\n\n"))

    def _chunk(self, choice: bytes, *, last: bool, usage: Usage | None) -> bytes:
        stamp = b',"system_fingerprint":"%s"' % FINGERPRINT.encode() if last and not self.include_usage else b""
        so_far = b',"usage":' + orjson.dumps(usage.fields()) if usage else b""
        return b"".join((b"data: ", self._start, b',"choices":[', choice, b"]", so_far, stamp, b"}\n\n"))

    def _body(self, choices: list[object], usage: Usage, extra: tuple[str, ...], metrics: object) -> dict[str, object]:
        full = usage.fields() | {"prompt_tokens_details": None, "completion_tokens_details": None}
        return {
            **orjson.loads(self._start + b"}"),
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": full,
            **dict.fromkeys(extra),
            "metrics": metrics,
        }


class ChatDialect(Dialect):
    """POST /v1/chat/completions; with a forced tool the text becomes the arguments of one call."""

    def __init__(
        self, head: Head, *, stream: bool, logprobs: bool, include_usage: bool, tool: str | None, named: bool
    ) -> None:
        name = "chat.completion.chunk" if stream else "chat.completion"
        super().__init__(head, name, logprobs=logprobs, include_usage=include_usage)
        self.tool = tool
        self._named = named

    def opening(self, index: int) -> list[bytes]:
        """The role, and with a forced tool the name of the call."""
        role = b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}' % index
        # vLLM sets these two on the first chunk of a chat only.
        first = self._chunk(role, last=False, usage=None).replace(
            b"]}\n\n", b'],"prompt_token_ids":null,"prompt_text":null}\n\n'
        )
        if self.tool is None:
            return [first]
        call = {"id": self._call_id(index), "type": "function", "index": 0}
        delta = {"tool_calls": [call | {"function": {"name": self.tool, "arguments": ""}}]}
        named = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": None}
        return [first, self._chunk(orjson.dumps(named), last=False, usage=None)]

    def piece(self, index: int, text: str, plan: OutputPlan, last: bool, usage: Usage | None) -> bytes:
        """One delta."""
        if self.tool is None:
            delta = b'{"content":' + orjson.dumps(text) + b"}"
        else:
            delta = b'{"tool_calls":[{"index":0,"function":{"arguments":' + orjson.dumps(text) + b"}}]}"
        logprobs = orjson.dumps(_chat_logprobs(text)) if self.logprobs else b"null"
        choice = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b,"token_ids":null}' % (
            index,
            delta,
            logprobs,
            orjson.dumps(self._reason(plan)) + b',"stop_reason":' + orjson.dumps(plan.stop_string) if last else b"null",
        )
        return self._chunk(choice, last=last, usage=usage)

    def body(self, choices: list[Choice], usage: Usage, metrics: dict[str, object] | None) -> bytes:
        """A `chat.completion`."""
        extra = ("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "ec_transfer_params")
        return orjson.dumps(self._body([self._choice(choice) for choice in choices], usage, extra, metrics))

    def _choice(self, choice: Choice) -> dict[str, object]:
        message: dict[str, object] = {"role": "assistant", "content": "" if self.tool else choice.text}
        message |= dict.fromkeys(("refusal", "annotations", "audio", "function_call"))
        if self.tool:
            function = {"name": self.tool, "arguments": choice.text}
            message["tool_calls"] = [{"id": self._call_id(choice.index), "type": "function", "function": function}]
        message["reasoning"] = None
        return {
            "index": choice.index,
            "message": message,
            "logprobs": _chat_logprobs(choice.text) if self.logprobs else None,
            "finish_reason": self._reason(choice.plan),
            "stop_reason": choice.plan.stop_string,
            "token_ids": None,
            "routed_experts": None,
        }

    def _call_id(self, index: int) -> str:
        return f"chatcmpl-tool-{self.head.id.removeprefix('chatcmpl-')[:16]}-{index}"

    def _reason(self, plan: OutputPlan) -> str:
        called = self.tool is not None and not self._named and plan.finish_reason == "stop"
        return "tool_calls" if called else plan.finish_reason


class CompletionDialect(Dialect):
    """POST /v1/completions."""

    def __init__(self, head: Head, *, logprobs: bool, as_ids: bool = False, include_usage: bool) -> None:
        """`as_ids`: tokens of log-probabilities are named token_id:NUMBER, as return_tokens_as_token_ids asks."""
        super().__init__(head, "text_completion", logprobs=logprobs, include_usage=include_usage)
        self.as_ids = as_ids

    def opening(self, index: int) -> list[bytes]:
        """Nothing: completions start with text."""
        return []

    def piece(self, index: int, text: str, plan: OutputPlan, last: bool, usage: Usage | None) -> bytes:
        """One portion of text."""
        logprobs = orjson.dumps(_completion_logprobs(text, self.as_ids)) if self.logprobs else b"null"
        reason = orjson.dumps(plan.finish_reason) if last else b"null"
        stop = orjson.dumps(plan.stop_string) if last else b"null"
        choice = (
            b'{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b,"stop_reason":%b,"prompt_token_ids":null,'
            b'"token_ids":null}' % (index, orjson.dumps(text), logprobs, reason, stop)
        )
        return self._chunk(choice, last=last, usage=usage)

    def body(self, choices: list[Choice], usage: Usage, metrics: dict[str, object] | None) -> bytes:
        """A `text_completion`."""
        extra = ("kv_transfer_params", "ec_transfer_params")
        return orjson.dumps(self._body([self._choice(choice) for choice in choices], usage, extra, metrics))

    def _choice(self, choice: Choice) -> dict[str, object]:
        return {
            "index": choice.index,
            "text": choice.text,
            "logprobs": _completion_logprobs(choice.text, self.as_ids) if self.logprobs else None,
            "finish_reason": choice.plan.finish_reason,
            "stop_reason": choice.plan.stop_string,
            **dict.fromkeys(("token_ids", "prompt_logprobs", "prompt_token_ids", "routed_experts")),
        }


def _tokens(text: str) -> list[str]:
    return [text[i : i + TOKEN_BYTES] for i in range(0, len(text), TOKEN_BYTES)]


def _chat_logprobs(text: str) -> dict[str, object]:
    entries = ({"token": token, "logprob": 0.0, "bytes": list(token.encode())} for token in _tokens(text))
    return {"content": [entry | {"top_logprobs": [entry]} for entry in entries]}


def _completion_logprobs(text: str, as_ids: bool) -> dict[str, object]:
    tokens = [f"token_id:{number}" for number in encode(text)] if as_ids else _tokens(text)
    return {
        "text_offset": [TOKEN_BYTES * i for i in range(len(tokens))],
        "token_logprobs": [0.0] * len(tokens),
        "tokens": tokens,
        "top_logprobs": [{token: 0.0} for token in tokens],
    }
