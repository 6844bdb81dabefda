"""Server-sent events passing through: bytes go on untouched, the engine's usage event is kept for the router."""

import re
from dataclasses import dataclass, field

import orjson

# vLLM ends an event with two line feeds; other servers with CR LF twice.
_ENDS = (b"\n\n", b"\n\r\n")
_AFTER_EVENT = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)")
_USAGE = b'"usage":'


@dataclass(slots=True)
class EventStream:
    """One streamed answer; feed it what the engine sends, write on what it returns.

    The usage event (no choices, last before `[DONE]`) carries the engine's metrics. The router always asks for it,
    so it is passed on only where the client asked too.
    """

    wants_usage: bool
    usage: dict[str, object] | None = None
    _rest: bytes = field(default=b"", repr=False)

    def feed(self, chunk: bytes) -> bytes:
        """What of these bytes the client gets; an event that is still incomplete waits for its end."""
        if not self._rest and _USAGE not in chunk and chunk.endswith(_ENDS):
            return chunk
        data = self._rest + chunk
        ends = [at + len(mark) for mark in _ENDS if (at := data.rfind(mark)) >= 0]
        if not ends:
            self._rest = data
            return b""
        complete, self._rest = data[: max(ends)], data[max(ends) :]
        return complete if _USAGE not in complete else self._without_usage(complete)

    def end(self) -> bytes:
        """What is left when the engine has closed the stream."""
        rest, self._rest = self._rest, b""
        return rest

    def _without_usage(self, events: bytes) -> bytes:
        split = _AFTER_EVENT.split(events)
        return b"".join(event for event in split if not self._take(event) or self.wants_usage)

    def _take(self, event: bytes) -> bool:
        """Whether this is the usage event, which is then remembered."""
        if _USAGE not in event or not event.startswith(b"data:"):
            return False
        try:
            body = orjson.loads(event.removeprefix(b"data:"))
        except orjson.JSONDecodeError:
            return False
        if not isinstance(body, dict) or body.get("choices") != [] or not isinstance(body.get("usage"), dict):
            return False
        self.usage = body
        return True
