"""How many tokens a request took, for the limits of its key.

They are read from the answer that passes; what the ingress keeps from a client that did not ask for it, it reports.
Where nothing is said, because the client left before the end or the engine counts nothing, the tokens are estimated
from what passed, so that leaving early is no way round a limit.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

BYTES_PER_TOKEN = 4
"""Of a request's body, JSON around the text included: a rough guess, on the high side for chats."""

_IN = ("prompt_tokens", "input_tokens")
_OUT = ("completion_tokens", "output_tokens")
# Inside a string a quote is escaped, so that text which a model writes is never taken for a count.
_COUNT = re.compile(rb'"((?:prompt|input|completion|output)_tokens)"\s*:\s*(\d{1,12})')


@dataclass(slots=True)
class Meter:
    """One request's tokens: as reported, else estimated from the prompt's size and the events that went out.

    OpenAI's APIs and Anthropic's name the counts differently, and a stream may tell them in parts: the largest count
    under each name is the last.
    """

    declared: int
    received: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    events: int = 0
    status: int = 0

    def passes(self, chunk: bytes) -> None:
        """Part of an answer goes out; every event of a stream is at least one token."""
        self.events += chunk.count(b"data:")
        if b'_tokens"' in chunk:
            for name, count in _COUNT.findall(chunk):
                self.counted(name.decode(), int(count))

    def counted(self, name: str, count: object) -> None:
        """The engine said how many tokens there were."""
        if type(count) is int and count > self.counts.get(name, -1):
            self.counts[name] = count

    @property
    def tokens(self) -> int:
        """What to count: nothing where the request was refused."""
        if self.status >= 400:
            return 0
        estimate = max(self.declared, self.received) // BYTES_PER_TOKEN
        given = max((self.counts[name] for name in _IN if name in self.counts), default=estimate)
        made = max((self.counts[name] for name in _OUT if name in self.counts), default=self.events)
        return given + made


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
