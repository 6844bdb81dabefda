"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages API in vLLM's words, without any metrics."""

from dataclasses import replace
from typing import Literal

import orjson
from pydantic import ConfigDict

from engines.simulator.engine import Prompt
from engines.simulator.exchange import Exchange, Routes
from engines.simulator.frames import Frame, frame_of
from engines.simulator.generation_routes import GenerationRoutes, Job
from engines.simulator.outputs import OutputPlan
from engines.simulator.parsing import parse_body
from engines.simulator.replies import Choice, Dialect, Head, Usage
from engines.simulator.requests import Body, ContentPart, GenerateRequest, Message
from engines.simulator.tokens import count_tokens

_REASONS = {"stop": "end_turn", "length": "max_tokens"}


class MessagesTool(Body):
    """A tool the model may call."""

    name: str
    input_schema: dict[str, object]


class ToolChoice(Body):
    """Whether and which tool is to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class Format(Body):
    """The schema of constrained output."""

    model_config = ConfigDict(extra="allow")


class OutputConfig(Body):
    """How the output is constrained."""

    format: Format | None = None


class CountRequest(GenerateRequest):
    """What is counted: the same as is answered."""

    model: str
    messages: list[Message]
    system: str | list[ContentPart] | None = None
    tools: list[MessagesTool] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None

    @property
    def instructions(self) -> str:
        """The texts without their roles."""
        return "\n".join(message.text for message in self.messages)

    @property
    def prompt(self) -> str:
        """The chat as one text."""
        system = f"system: {Message(role='system', content=list(self.system)).text}\n" if self.system else ""
        return system + "".join(f"{message.role}: {message.text}\n" for message in self.messages)

    @property
    def forced_tool(self) -> MessagesTool | None:
        """The tool the model has to call, or None."""
        choice = self.tool_choice
        if choice is None or choice.type not in ("any", "tool"):
            return None
        named = (tool for tool in self.tools or [] if choice.name in (None, tool.name))
        return next(named, None)

    @property
    def frame(self) -> Frame | None:
        """What stands around the text of constrained output."""
        wanted = self.output_config.format if self.output_config else None
        return frame_of((wanted.model_extra or {}).get("schema")) if wanted else None


class MessagesRequest(CountRequest):
    """POST /v1/messages."""

    max_tokens: int
    stop_sequences: list[str] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return tuple(self.stop_sequences or ())


class MessagesRoutes:
    """Handlers of both routes."""

    def __init__(self, generation: GenerationRoutes) -> None:
        self._generation = generation

    def routes(self) -> Routes:
        """By path and method."""
        return {
            "/v1/messages": {"POST": self._generation.handler(self._read)},
            "/v1/messages/count_tokens": {"POST": self._count},
        }

    def _read(self, raw: bytes, request_id: str) -> Job:
        request = parse_body(MessagesRequest, raw)
        self._generation.check(request.model, request.messages)
        tool = request.forced_tool
        dialect = MessagesDialect(self._generation.head("chatcmpl", request_id, request.model), tool=tool)
        frame = frame_of(tool.input_schema) if tool else request.frame
        prompt = Prompt(request.prompt, count_tokens(request.prompt), request.instructions)
        dialect.prompt_tokens = prompt.tokens
        job = self._generation.job(request, prompt, request.max_tokens, dialect, frame)
        return replace(job, wanted=replace(job.wanted, include_usage=True))

    async def _count(self, exchange: Exchange) -> None:
        exchange.want_json()
        request = parse_body(CountRequest, await exchange.read_body())
        self._generation.check(request.model, request.messages)
        await exchange.answer(orjson.dumps({"input_tokens": count_tokens(request.prompt)}))


class MessagesDialect(Dialect):
    """One content block: text, or the call of a forced tool."""

    done = b""

    def __init__(self, head: Head, *, tool: MessagesTool | None) -> None:
        super().__init__(head, "message", logprobs=False, include_usage=True)
        self.prompt_tokens = 0
        self._tool = tool
        self._last: OutputPlan | None = None

    def opening(self, index: int) -> list[bytes]:
        """The message and its block begin."""
        message = self._message([], None, Usage(self.prompt_tokens, 0))
        return [
            _event("message_start", {"message": message}),
            _event("content_block_start", {"index": 0, "content_block": self._block("")}),
        ]

    def piece(self, index: int, text: str, plan: OutputPlan, last: bool, usage: Usage | None) -> bytes:
        """One delta."""
        self._last = plan
        delta = (
            {"type": "input_json_delta", "partial_json": text} if self._tool else {"type": "text_delta", "text": text}
        )
        return _event("content_block_delta", {"index": 0, "delta": delta})

    def usage_chunk(self, usage: Usage, metrics: dict[str, object] | None) -> bytes:
        """The block and the message end."""
        delta = {
            "stop_reason": self._reason(self._last),
            "stop_sequence": self._last.stop_string if self._last else None,
        }
        return b"".join(
            (
                _event("content_block_stop", {"index": 0}),
                _event("message_delta", {"delta": delta, "usage": _usage(usage)}),
                _event("message_stop", {}),
            )
        )

    def body(self, choices: list[Choice], usage: Usage, metrics: dict[str, object] | None) -> bytes:
        """A `message`."""
        return orjson.dumps(self._message([self._block(choices[0].text)], choices[0].plan, usage))

    def _block(self, text: str) -> dict[str, object]:
        if self._tool is None:
            return {"type": "text", "text": text}
        given = orjson.loads(text) if text.endswith("}") else {}
        return {"type": "tool_use", "id": f"toolu_{self.head.id[-24:]}", "name": self._tool.name, "input": given}

    def _message(self, content: list[dict[str, object]], plan: OutputPlan | None, usage: Usage) -> dict[str, object]:
        return {
            "id": self.head.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self.head.model,
            "stop_reason": None if plan is None else self._reason(plan),
            "stop_sequence": None if plan is None else plan.stop_string,
            "usage": _usage(usage),
        }

    def _reason(self, plan: OutputPlan | None) -> str:
        if plan is None or (self._tool is not None and plan.finish_reason == "stop"):
            return "tool_use" if self._tool else "end_turn"
        return "stop_sequence" if plan.stop_string is not None else _REASONS[plan.finish_reason]


def _usage(usage: Usage) -> dict[str, object]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def _event(kind: str, fields: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))
