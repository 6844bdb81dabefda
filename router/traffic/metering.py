"""How many tokens a request took, for the limits of its key.

They are read from the answer that passes; what the ingress keeps from a client that did not ask for it, it reports.
Where nothing is said, because the client left before the end or the engine counts nothing, the tokens are estimated
from the text that passed, so that leaving early is no way round a limit. An event may hold one token or all of them
(vLLM's `stream_interval`, a verify step that accepts many), so that events alone say too little.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

BYTES_PER_TOKEN = 4
"""Of English text, roughly; of a request's body, JSON around the text included, a guess on the high side for chats."""

_IN = ("prompt_tokens", "input_tokens")
_OUT = ("completion_tokens", "output_tokens")
# Inside a string a quote is escaped, so that text which a model writes is never taken for a count.
_COUNT = re.compile(rb'"((?:prompt|input|completion|output)_tokens)"\s*:\s*(\d{1,12})')
# What models write, as each API names it, to its end or as far as it has come: 3 µs for an event of vLLM's.
_TEXT = re.compile(
    rb'"(?:arguments|content|delta|partial_json|reasoning|reasoning_content|refusal|text|thinking)"\s*:\s*'
    rb'"([^"\\]*(?:\\.[^"\\]*)*)'
)


@dataclass(slots=True)
class Meter:
    """One request's tokens: as reported, else estimated from the prompt's size and the text that went out.

    OpenAI's APIs and Anthropic's name the counts differently, and a stream may tell them in parts: the largest count
    under each name is the last. `pieces` and `text_bytes` are of the text that passed after the last count of output;
    in an answer that is `whole`, no stream, a count says all, in whichever order its fields are.
    """

    declared: int
    received: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    pieces: int = 0
    text_bytes: int = 0
    whole: bool | None = None
    status: int = 0

    def passes(self, chunk: bytes) -> None:
        """Part of an answer goes out: events of a stream, or all of it, or parts of what is long."""
        if self.whole is None:
            self.whole = chunk.startswith(b"{")
        uncounted = self._uncounted(chunk) if b'_tokens"' in chunk else chunk
        if not self.whole or self.counts.keys().isdisjoint(_OUT):
            texts = _TEXT.findall(uncounted)
            self.pieces += len(texts)
            self.text_bytes += sum(map(len, texts))

    def _uncounted(self, chunk: bytes) -> bytes:
        """Take what is counted here; returns what comes after it."""
        end = 0
        for found in _COUNT.finditer(chunk):
            name = found[1].decode()
            self.counted(name, int(found[2]))
            if name in _OUT:
                end = found.end()
        return chunk[end:]

    def counted(self, name: str, count: object) -> None:
        """The engine said how many tokens there were."""
        if type(count) is not int:
            return
        self.counts[name] = max(count, self.counts.get(name, 0))
        if name in _OUT:
            self.pieces = self.text_bytes = 0

    @property
    def tokens(self) -> int:
        """What to count: nothing where the request was refused."""
        if self.status >= 400:
            return 0
        estimate = max(self.declared, self.received) // BYTES_PER_TOKEN
        given = max((self.counts[name] for name in _IN if name in self.counts), default=estimate)
        made = max((self.counts[name] for name in _OUT if name in self.counts), default=0)
        return given + made + max(self.pieces, self.text_bytes // BYTES_PER_TOKEN)


_METER: ContextVar[Meter | None] = ContextVar("alpharoute-meter", default=None)


def begin(declared_bytes: int) -> Meter:
    """Meter the request that this task answers."""
    meter = Meter(declared_bytes)
    _METER.set(meter)
    return meter


def report(answer: Mapping[str, object] | None) -> None:
    """What an engine said at the end of a stream, with `usage` inside, and the client may not have got to see."""
    meter, usage = _METER.get(), (answer or {}).get("usage")
    if meter is not None and isinstance(usage, Mapping):
        for name in (*_IN, *_OUT):
            meter.counted(name, usage.get(name))
