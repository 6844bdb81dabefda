"""One generation request on its way: its sequences, what they produce, and the answer made of it."""

import asyncio
from dataclasses import dataclass

from engines.simulator.batching import Batch, Sequence
from engines.simulator.exchange import Exchange
from engines.simulator.measurements import request_metrics
from engines.simulator.replies import Choice, Dialect, Usage


class Mailbox:
    """Where the step loop leaves what a request produced; one reader."""

    __slots__ = ("_pieces", "_waiter", "closed")

    def __init__(self) -> None:
        self.closed = False
        self._pieces: list[tuple[Sequence, int, int]] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, sequence: Sequence, first: int, last: int) -> None:
        """Tokens `first` to `last` of `sequence` are out."""
        self._pieces.append((sequence, first, last))
        self._wake()

    def put_finished(self, sequence: Sequence, first: int, last: int) -> None:
        """As `put`, but only the end of a sequence wakes the reader: nobody streams."""
        if sequence.finished:
            self.put(sequence, first, last)

    def close(self) -> None:
        """Nothing more will be read: the client left."""
        self.closed = True
        self._wake()

    async def take(self) -> list[tuple[Sequence, int, int]]:
        """Everything since the last call, at least one piece unless closed."""
        if not self._pieces and not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        pieces, self._pieces = self._pieces, []
        return pieces

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the client wants its answer. `before` and `after` frame the text, or where `silent` replace it."""

    stream: bool
    include_usage: bool
    continuous_usage: bool
    prompt_tokens: int
    before: str = ""
    after: str = ""
    silent: bool = False


class Generation:
    """Runs the sequences of one request and answers it; True where the client got everything."""

    def __init__(
        self, batch: Batch, dialect: Dialect, wanted: Wanted, sequences: list[Sequence], mailbox: Mailbox
    ) -> None:
        self.sequences = sequences
        self._batch = batch
        self._dialect = dialect
        self._wanted = wanted
        self._mailbox = mailbox
        self._index = {id(sequence): index for index, sequence in enumerate(sequences)}

    async def run(self, exchange: Exchange, cut_after_events: int | None) -> bool:
        """Submit, answer, and give up everything when the client leaves."""
        for sequence in self.sequences:
            self._batch.submit(sequence)
        watch = asyncio.ensure_future(exchange.gone())
        watch.add_done_callback(lambda done: None if done.cancelled() else self._mailbox.close())
        try:
            answer = self._stream if self._wanted.stream else self._whole
            return await answer(exchange, cut_after_events)
        finally:
            watch.cancel()
            for sequence in self.sequences:
                self._batch.abort(sequence)

    async def _whole(self, exchange: Exchange, cut_after_events: int | None) -> bool:
        running = len(self.sequences)
        while running:
            running -= len(await self._mailbox.take())
            if self._mailbox.closed:
                return False
        if cut_after_events is not None:
            await exchange.cut()
            return False
        choices = [
            Choice(
                index, f"{self._wanted.before}{self._said(sequence.plan.text)}{self._ending(sequence)}", sequence.plan
            )
            for index, sequence in enumerate(self.sequences)
        ]
        await exchange.answer(self._dialect.body(choices, self._usage(), self._metrics()))
        return True

    async def _stream(self, exchange: Exchange, cut_after_events: int | None) -> bool:
        await exchange.open_stream()
        running, sent, opened = len(self.sequences), 0, False
        while running:
            pieces = await self._mailbox.take()
            if self._mailbox.closed:
                return False
            events = [] if opened else self._openings()
            opened = True
            for sequence, first, last in pieces:
                events.append(self._event(sequence, first, last))
                running -= last >= sequence.plan.tokens
            if cut_after_events is not None and sent + len(events) > cut_after_events:
                await exchange.stream(b"".join(events[: cut_after_events - sent]))
                await exchange.cut()
                return False
            sent += len(events)
            if running:
                await exchange.stream(b"".join(events))
        await exchange.stream(b"".join((*events, self._tail(), self._dialect.done)), last=True)
        return True

    def _openings(self) -> list[bytes]:
        return [event for index in range(len(self.sequences)) for event in self._dialect.opening(index)]

    def _event(self, sequence: Sequence, first: int, last: int) -> bytes:
        done = last >= sequence.plan.tokens
        text = self._said(sequence.plan.piece(first, last))
        if not first:
            text = self._wanted.before + text
        if done:
            text += self._ending(sequence)
        usage = Usage(self._wanted.prompt_tokens, last) if self._wanted.continuous_usage else None
        return self._dialect.piece(self._index[id(sequence)], text, sequence.plan, done, usage)

    def _said(self, text: str) -> str:
        return "" if self._wanted.silent else text

    def _ending(self, sequence: Sequence) -> str:
        return self._wanted.after if sequence.plan.finish_reason == "stop" else ""

    def _tail(self) -> bytes:
        return self._dialect.usage_chunk(self._usage(), self._metrics()) if self._wanted.include_usage else b""

    def _usage(self) -> Usage:
        return Usage(self._wanted.prompt_tokens, sum(sequence.produced for sequence in self.sequences))

    def _metrics(self) -> dict[str, object] | None:
        """None for several sequences: the figures could not be attributed, as in vLLM."""
        if len(self.sequences) > 1:
            return None
        (sequence,) = self.sequences
        return request_metrics(self._batch.settings, sequence.times, sequence.produced, sequence.steps)
