"""The bodies the simulator accepts: the fields of vLLM's that it acts on; others pass unread, as vLLM lets them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from engines.simulator.errors import ApiError, bad_value
from engines.simulator.frames import Frame, frame_of

StopStrings = str | Annotated[list[str], Field(max_length=4)] | None
TokenId = Annotated[int, Field(ge=0)]
MAX_CHOICES = 16_384
"""vLLM's own limit of `n`."""

XArg = str | int | float | list[str | int | float]


class Body(BaseModel):
    """A body; extra fields are allowed here, though the product forbids them elsewhere, for the contract is vLLM's."""

    model_config = ConfigDict(extra="ignore")


class StreamOptions(Body):
    """What to add to a stream."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class GenerateRequest(Body):
    """The fields that chat and completions share."""

    model: str | None = None
    n: int | None = 1
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: StopStrings = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    include_stop_str_in_output: bool = False
    vllm_xargs: dict[str, XArg] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, however they were given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def sampled_at(self) -> float:
        """The temperature; OpenAI's default is 1."""
        return 1.0 if self.temperature is None else self.temperature

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk of the stream carries usage."""
        return self.include_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)

    def check(self, max_tokens: int) -> None:
        """Refuse values vLLM's sampling parameters refuse, in its words."""
        temperature = self.sampled_at
        if self.n is not None and self.n < 1:
            raise ApiError(f"n must be at least 1, got {self.n}.")
        if self.n is not None and self.n > MAX_CHOICES:
            raise ApiError(f"n must be at most {MAX_CHOICES}, got {self.n}.")
        if temperature < 0:
            raise bad_value(f"temperature must be non-negative, got {temperature}.", "temperature", temperature)
        if not temperature <= 2:
            raise bad_value(f"temperature must be in [0, 2], got {temperature}.", "temperature", temperature)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise bad_value(f"top_p must be in (0, 1], got {self.top_p}.", "top_p", self.top_p)
        if max_tokens < 1:
            raise bad_value(f"max_tokens must be at least 1, got {max_tokens}.", "max_tokens", max_tokens)
        if self.min_tokens > max_tokens:
            raise ApiError(f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {self.min_tokens}.")
        if "" in self.stops:
            raise ApiError("stop cannot contain an empty string.")
        if temperature == 0 and (self.n or 1) > 1:
            raise ApiError(f"n must be 1 when using greedy sampling, got {self.n}.")


class ContentPart(Body):
    """One part of a message; only text counts."""

    type: str | None = None
    text: str | None = None


class Message(Body):
    """One message of a chat."""

    role: str
    content: str | list[str | ContentPart] | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        if isinstance(self.content, list):
            return "\n".join(part if isinstance(part, str) else part.text or "" for part in self.content)
        return self.content or ""


class Function(Body):
    """A function a tool offers."""

    name: str
    parameters: dict[str, object] | None = None


class Tool(Body):
    """A tool the model may call."""

    type: Literal["function"] = "function"
    function: Function


class JsonSchema(Body):
    """A named schema."""

    wanted: dict[str, object] | None = Field(default=None, alias="schema")


class ResponseFormat(Body):
    """How the text of an answer is constrained."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(GenerateRequest):
    """POST /v1/chat/completions."""

    messages: list[Message]
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | Tool | None = None

    @property
    def prompt(self) -> str:
        """The chat as one text, as a chat template would render it."""
        return "".join(f"{message.role}: {message.text}\n" for message in self.messages)

    @property
    def instructions(self) -> str:
        """The texts without their roles: what the task is read from."""
        return "\n".join(message.text for message in self.messages)

    @property
    def forced_tool(self) -> Tool | None:
        """The tool the model has to call, or None."""
        choice = self.tool_choice
        if isinstance(choice, Tool):
            return next((tool for tool in self.tools or [] if tool.function.name == choice.function.name), choice)
        return self.tools[0] if choice == "required" and self.tools else None

    @property
    def frame(self) -> Frame | None:
        """What stands around the text: a call's arguments, or the JSON that was asked for."""
        if (tool := self.forced_tool) is not None:
            return frame_of(tool.function.parameters)
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        return frame_of(wanted.json_schema.wanted if wanted.json_schema else None)


class CompletionRequest(GenerateRequest):
    """POST /v1/completions."""

    prompt: list[TokenId] | list[list[TokenId]] | str | list[str]
    max_tokens: int | None = 16
    logprobs: int | None = None
    return_tokens_as_token_ids: bool | None = False
    echo: bool | None = False


class EmbeddingsRequest(Body):
    """POST /v1/embeddings."""

    model: str | None = None
    input: list[TokenId] | list[list[TokenId]] | str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, le=4096)


class TokenizeRequest(Body):
    """POST /tokenize, of a prompt or a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    return_token_strs: bool | None = False


class DetokenizeRequest(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: list[TokenId]
