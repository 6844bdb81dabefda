"""Server-sent events passing through: bytes go on untouched, the engine's usage event is kept for the router."""

from dataclasses import dataclass, field

import orjson

_BOUNDARY = b"\n\n"
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
        if not self._rest and _USAGE not in chunk and chunk.endswith(_BOUNDARY):
            return chunk
        data = self._rest + chunk
        end = data.rfind(_BOUNDARY) + len(_BOUNDARY)
        if end < len(_BOUNDARY):
            self._rest = data
            return b""
        complete, self._rest = data[:end], data[end:]
        return complete if _USAGE not in complete else self._without_usage(complete)

    def end(self) -> bytes:
        """What is left when the engine has closed the stream."""
        rest, self._rest = self._rest, b""
        return rest

    def _without_usage(self, events: bytes) -> bytes:
        kept = [event for event in events.split(_BOUNDARY)[:-1] if not self._take(event) or self.wants_usage]
        return b"".join(event + _BOUNDARY for event in kept)

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


def error_event(body: bytes) -> bytes:
    """An error object as an event, for a stream that has begun and cannot go on."""
    return b"data: " + body + _BOUNDARY
