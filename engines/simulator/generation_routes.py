"""The routes that generate: from a checked body to sequences in the batch and their answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from engines.simulator.batching import Sequence
from engines.simulator.engine import Prompt, RequestRecord, SimulatedEngine
from engines.simulator.errors import ApiError
from engines.simulator.exchange import Exchange, Handler, Routes
from engines.simulator.failures import Failure, FailureKind
from engines.simulator.frames import Frame
from engines.simulator.generation import Generation, Mailbox, Wanted
from engines.simulator.outputs import Sampling
from engines.simulator.parsing import parse_body
from engines.simulator.replies import ChatDialect, CompletionDialect, Dialect, Head
from engines.simulator.requests import ChatRequest, CompletionRequest, GenerateRequest, Message
from engines.simulator.tokens import count_tokens, decode


@dataclass(frozen=True, slots=True)
class Job:
    """A checked generation request: what to generate from, how far, and how to word the answer."""

    request: GenerateRequest
    prompts: tuple[Prompt, ...]
    max_tokens: int
    dialect: Dialect
    wanted: Wanted

    def samplings(self) -> list[tuple[Prompt, Sampling]]:
        """One per choice: n for each prompt."""
        request = self.request
        sampling = Sampling(
            max_tokens=self.max_tokens,
            temperature=request.sampled_at,
            seed=request.seed,
            min_tokens=request.min_tokens,
            ignore_eos=request.ignore_eos,
            stop=request.stops,
            include_stop=request.include_stop_str_in_output,
        )
        return [(prompt, replace(sampling, index=i)) for prompt in self.prompts for i in range(request.n or 1)]


class GenerationRoutes:
    """Handlers of /v1/chat/completions and /v1/completions."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine

    def routes(self) -> Routes:
        """By path and method."""
        return {
            "/v1/chat/completions": {"POST": self.handler(self._chat)},
            "/v1/completions": {"POST": self.handler(self._completion)},
        }

    def handler(self, read: Callable[[bytes, str], Job]) -> Handler:
        """Answers what `read` makes of a body and the request's id."""

        async def generate(exchange: Exchange) -> None:
            exchange.want_json()
            raw = await exchange.read_body()
            await self._run(exchange, read(raw, exchange.header(b"x-request-id") or uuid4().hex))

        return generate

    async def _run(self, exchange: Exchange, job: Job) -> None:
        engine, xargs, mailbox = self._engine, job.request.vllm_xargs, Mailbox()
        task, k = engine.task_of(job.prompts[0], xargs), engine.k_of(xargs)
        on_tokens = mailbox.put if job.wanted.stream else mailbox.put_finished
        sequences = [
            engine.sequence(prompt, sampling, task=task, k=k, on_tokens=on_tokens)
            for prompt, sampling in job.samplings()
        ]
        if exchange.failure is not None and exchange.failure.kind is FailureKind.STALL:
            engine.batch.stall()
        cut_after = _apply(exchange.failure, sequences)
        record = RequestRecord(job.dialect.head.id, task, k, job.request.sampled_at, job.wanted.prompt_tokens)
        engine.tally.recent.append(record)
        answered = await Generation(engine.batch, job.dialect, job.wanted, sequences, mailbox).run(exchange, cut_after)
        record.output_tokens = sum(sequence.produced for sequence in sequences)
        engine.tally.end(record, "served" if answered else "aborted" if cut_after is None else "failed")

    def check(self, model: str | None, messages: list[Message]) -> None:
        """Refuse a model that is not served, and a chat without messages."""
        self._engine.check_model(model)
        if not messages:
            raise ApiError("messages must hold at least one message.", param="messages")

    def job(
        self, request: GenerateRequest, prompt: Prompt, asked: int | None, dialect: Dialect, frame: Frame | None
    ) -> Job:
        """One answer to one prompt, of at most `asked` tokens; `frame` is what stands around its text."""
        wanted = _wanted(request, prompt.tokens)
        if frame is not None:
            wanted = replace(wanted, before=frame.before, after=frame.after, silent=frame.silent)
        return Job(request, (prompt,), self._limit(request, (prompt,), asked), dialect, wanted)

    def _chat(self, raw: bytes, request_id: str) -> Job:
        request = parse_body(ChatRequest, raw)
        self.check(request.model, request.messages)
        text = request.prompt
        prompt = Prompt(text, count_tokens(text), request.instructions)
        asked = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
        tool = request.forced_tool
        dialect = ChatDialect(
            self.head("chatcmpl", request_id, request.model),
            stream=bool(request.stream),
            logprobs=bool(request.logprobs),
            include_usage=request.include_usage,
            tool=tool.function.name if tool else None,
            named=request.tool_choice != "required",
        )
        return self.job(request, prompt, asked, dialect, request.frame)

    def _completion(self, raw: bytes, request_id: str) -> Job:
        request = parse_body(CompletionRequest, raw)
        self._engine.check_model(request.model)
        prompts = prompts_of(request.prompt)
        limit = self._limit(request, prompts, 16 if request.max_tokens is None else request.max_tokens)
        dialect = CompletionDialect(
            self.head("cmpl", request_id, request.model),
            logprobs=request.logprobs is not None,
            as_ids=bool(request.return_tokens_as_token_ids),
            include_usage=request.include_usage,
        )
        wanted = _wanted(request, sum(prompt.tokens for prompt in prompts))
        if request.echo:
            wanted = replace(wanted, before=prompts[0].text.encode("utf-8", errors="replace").decode())
        return Job(request, prompts, limit, dialect, wanted)

    def _limit(self, request: GenerateRequest, prompts: tuple[Prompt, ...], asked: int | None) -> int:
        limit = min(self._engine.output_limit(prompt.tokens, asked) for prompt in prompts)
        request.check(limit)
        return limit

    def head(self, prefix: str, request_id: str, model: str | None) -> Head:
        """What the answer repeats; its model is the adapter that was asked for, else the model itself."""
        served = self._engine.settings
        return Head(f"{prefix}-{request_id}", int(time.time()), model if model in served.loras else served.model)


def _apply(failure: Failure | None, sequences: list[Sequence]) -> int | None:
    """Slow the sequences down if ordered; the events after which the answer is to break off, or None."""
    if failure is None:
        return None
    if failure.kind is FailureKind.DIE_MID_STREAM:
        return failure.after_chunks
    if failure.kind is FailureKind.SLOW:
        for sequence in sequences:
            sequence.slowdown = failure.factor
    return None


def _wanted(request: GenerateRequest, prompt_tokens: int) -> Wanted:
    return Wanted(
        stream=bool(request.stream),
        include_usage=request.include_usage,
        continuous_usage=request.continuous_usage,
        prompt_tokens=prompt_tokens,
    )


def prompts_of(given: str | list[str] | list[int] | list[list[int]]) -> tuple[Prompt, ...]:
    """One per prompt, of text or of token ids."""
    if not given:
        raise ApiError("You must pass at least one prompt")
    if isinstance(given, str):
        return (Prompt(given, count_tokens(given), given),)
    if isinstance(given[0], int):
        given = [given]
    return tuple(_prompt(one) for one in given)


def _prompt(given: str | list[int]) -> Prompt:
    if isinstance(given, str):
        return Prompt(given, count_tokens(given), given)
    text = decode(given)
    return Prompt(text, len(given), text)
