"""POST /v1/responses: OpenAI's Responses API in vLLM's words; of the metrics it carries times, never drafts."""

from dataclasses import replace
from typing import Literal

import orjson
from pydantic import Field

from engines.simulator.engine import Prompt
from engines.simulator.errors import ApiError
from engines.simulator.exchange import Routes
from engines.simulator.frames import Frame, frame_of
from engines.simulator.generation_routes import GenerationRoutes, Job
from engines.simulator.outputs import OutputPlan
from engines.simulator.parsing import parse_body
from engines.simulator.replies import Choice, Dialect, Head, Usage
from engines.simulator.requests import Body, GenerateRequest, Message
from engines.simulator.tokens import count_tokens

Json = dict[str, object]


class Item(Body):
    """One item of the input: a message, or a tool's call or output, which is not read."""

    role: str = "user"
    content: object = None

    @property
    def message(self) -> Message:
        """The item as a message of a chat."""
        return Message.model_validate({"role": self.role, "content": self.content})


class ResponsesTool(Body):
    """A tool the model may call."""

    type: str
    name: str = ""
    parameters: Json | None = None


class ToolChoice(Body):
    """The tool that must be called."""

    name: str = ""


class TextFormat(Body):
    """How the text is constrained."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    wanted: Json | None = Field(default=None, alias="schema")


class TextConfig(Body):
    """How the text is given."""

    format: TextFormat | None = None


class ResponsesRequest(GenerateRequest):
    """POST /v1/responses."""

    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    text: TextConfig | None = None
    tools: list[ResponsesTool] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | ToolChoice = "auto"
    metadata: dict[str, str] | None = None

    @property
    def messages(self) -> list[Message]:
        """The input as the messages of a chat."""
        if isinstance(self.input, str):
            return [Message(role="user", content=self.input)]
        return [item.message for item in self.input]

    @property
    def forced_tool(self) -> ResponsesTool | None:
        """The function the model has to call, or None."""
        choice = self.tool_choice
        if choice in ("none", "auto"):
            return None
        name = choice.name if isinstance(choice, ToolChoice) else None
        return next((tool for tool in self.tools if tool.type == "function" and name in (None, tool.name)), None)

    @property
    def frame(self) -> Frame | None:
        """What stands around the text: a call's arguments, or the JSON that was asked for."""
        if (tool := self.forced_tool) is not None:
            return frame_of(tool.parameters)
        wanted = self.text.format if self.text else None
        return None if wanted is None or wanted.type == "text" else frame_of(wanted.wanted)


class ResponsesRoutes:
    """Handler of the route."""

    def __init__(self, generation: GenerationRoutes) -> None:
        self._generation = generation

    def routes(self) -> Routes:
        """By path and method."""
        return {"/v1/responses": {"POST": self._generation.handler(self._read)}}

    def _read(self, raw: bytes, request_id: str) -> Job:
        request = parse_body(ResponsesRequest, raw)
        if not request.input:
            raise ApiError("input must hold at least one item.", param="input")
        self._generation.check(request.model, request.messages)
        chat = [Message(role="system", content=request.instructions)] if request.instructions else []
        chat += request.messages
        text = "".join(f"{message.role}: {message.text}\n" for message in chat)
        prompt = Prompt(text, count_tokens(text), "\n".join(message.text for message in chat))
        head = self._generation.head("resp", request_id, request.model)
        dialect = ResponsesDialect(replace(head, id=head.id.replace("-", "_", 1)), request)
        job = self._generation.job(request, prompt, request.max_output_tokens, dialect, request.frame)
        dialect.limit = job.max_tokens
        return replace(job, wanted=replace(job.wanted, include_usage=True))


class ResponsesDialect(Dialect):
    """One output item: a message, or a function's call."""

    done = b""

    def __init__(self, head: Head, request: ResponsesRequest) -> None:
        super().__init__(head, "response", logprobs=False, include_usage=True)
        self.limit = 0
        self._request = request
        self._tool = request.forced_tool
        self._number = 0
        self._text = ""
        self._last: OutputPlan | None = None

    def opening(self, index: int) -> list[bytes]:
        """The response and its item begin."""
        begun = self._response("in_progress", [], None, None)
        events = [
            self._event("response.created", {"response": begun}),
            self._event("response.in_progress", {"response": begun}),
            self._event("response.output_item.added", {"output_index": 0, "item": self._item("", "in_progress")}),
        ]
        if self._tool is None:
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            events.append(self._event("response.content_part.added", {**self._at(), "part": part}))
        return events

    def piece(self, index: int, text: str, plan: OutputPlan, last: bool, usage: Usage | None) -> bytes:
        """One delta."""
        self._last = plan
        self._text += text
        if self._tool is not None:
            at: Json = {"item_id": self._item_id, "output_index": 0, "delta": text}
            return self._event("response.function_call_arguments.delta", at)
        return self._event("response.output_text.delta", {**self._at(), "delta": text, "logprobs": []})

    def usage_chunk(self, usage: Usage, metrics: Json | None) -> bytes:
        """The item and the response end."""
        item = self._item(self._text, "completed")
        if self._tool is not None:
            at: Json = {"item_id": self._item_id, "output_index": 0, "name": self._tool.name, "arguments": self._text}
            ends = [self._event("response.function_call_arguments.done", at)]
        else:
            part = {"type": "output_text", "text": self._text, "annotations": [], "logprobs": []}
            ends = [
                self._event("response.output_text.done", {**self._at(), "text": self._text, "logprobs": []}),
                self._event("response.content_part.done", {**self._at(), "part": part}),
            ]
        whole = self._response(self._status, [item], usage, metrics)
        ends.append(self._event("response.output_item.done", {"output_index": 0, "item": item}))
        ends.append(self._event("response.completed", {"response": whole}))  # so vLLM ends a cut answer too
        return b"".join(ends)

    def body(self, choices: list[Choice], usage: Usage, metrics: Json | None) -> bytes:
        """A `response`."""
        self._last = choices[0].plan
        item = self._item(choices[0].text, "completed")
        return orjson.dumps(self._response(self._status, [item], usage, metrics))

    @property
    def _status(self) -> str:
        return "incomplete" if self._last is not None and self._last.finish_reason == "length" else "completed"

    @property
    def _item_id(self) -> str:
        return self.head.id.replace("resp", "fc" if self._tool else "msg", 1)

    def _at(self) -> Json:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def _item(self, text: str, status: str) -> Json:
        if self._tool is not None:
            call = {"type": "function_call", "call_id": f"call_{self.head.id[5:]}", "name": self._tool.name}
            return {"id": self._item_id, **call, "arguments": text, "status": status}
        part: Json = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
        content = [part] if text else []
        return {"id": self._item_id, "type": "message", "role": "assistant", "content": content, "status": status}

    def _response(self, status: str, output: list[Json], usage: Usage | None, metrics: Json | None) -> Json:
        request = self._request
        times = {name: value for name, value in (metrics or {}).items() if name != "speculative_decoding"}
        return {
            "id": self.head.id,
            "created_at": self.head.created,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": request.instructions,
            "metadata": request.metadata,
            "model": self.head.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": True,
            "temperature": request.sampled_at,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "background": False,
            "max_output_tokens": self.limit,
            "service_tier": "auto",
            "status": status,
            "truncation": "disabled",
            "usage": None if usage is None else _usage(usage),
            **({"metrics": times} if times else {}),
        }

    def _event(self, kind: str, fields: Json) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event))


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
