"""How many tokens a request took, for the limits of its key.

The ingress says what the engine reported; it may have kept that from a client that did not ask for it. Where nothing
is reported, because the client left before the end or the engine counts nothing, the tokens are estimated from what
passed, so that leaving early is no way round a limit.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

BYTES_PER_TOKEN = 4
"""Of a request's body, JSON around the text included: a rough guess, on the high side for chats."""

_COUNTS = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))


@dataclass(slots=True)
class Meter:
    """One request's tokens: as reported, else estimated from the prompt's size and the events that went out."""

    prompt_estimate: int
    reported: int | None = None
    events: int = 0
    status: int = 0

    def passes(self, chunk: bytes) -> None:
        """Part of an answer goes out; every event of a stream is at least one token."""
        self.events += chunk.count(b"data:")

    @property
    def tokens(self) -> int:
        """What to count: nothing where the request was refused."""
        if self.reported is not None:
            return self.reported
        return 0 if self.status >= 400 else self.prompt_estimate + self.events


_METER: ContextVar[Meter | None] = ContextVar("alpharoute-meter", default=None)


def begin(request_bytes: int) -> Meter:
    """Meter the request that this task answers."""
    meter = Meter(prompt_estimate=request_bytes // BYTES_PER_TOKEN)
    _METER.set(meter)
    return meter


def report(answer: object) -> None:
    """What an engine said at the end: a decoded answer or the last event of a stream, with `usage` inside.

    OpenAI's APIs and Anthropic's name the counts differently; what is neither is left to the estimate.
    """
    meter = _METER.get()
    usage = answer.get("usage") if isinstance(answer, Mapping) else None
    if meter is None or not isinstance(usage, Mapping):
        return
    for names in _COUNTS:
        counts = [usage.get(name) for name in names]
        if counts[0] is not None:
            meter.reported = sum(count for count in counts if type(count) is int and count > 0)
