"""Server-sent events passing through: bytes go on untouched; the router keeps the usage event and notes an error."""

import re
from dataclasses import dataclass, field

import orjson

# vLLM ends an event with two line feeds; other servers with CR LF twice.
_ENDS = (b"\n\n", b"\n\r\n")
_AFTER_EVENT = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)")
# Within a JSON string the quotes would be escaped.
_USAGE = b'"usage":'
_ERROR = b'"error"'
_ERROR_FIRST = (b'data: {"error"', b"event: error")


@dataclass(slots=True)
class EventStream:
    """One streamed answer; feed it what the engine sends, write on what it returns.

    The usage event (no choices, last before `[DONE]`) carries the engine's metrics. The router always asks for it,
    so it is passed on only where the client asked too. `error` is what an engine said that failed after its 200: the
    event goes to the client as any other does.
    """

    wants_usage: bool
    usage: dict[str, object] | None = None
    error: dict[str, object] | None = None
    _rest: bytes = field(default=b"", repr=False)

    def feed(self, chunk: bytes) -> bytes:
        """What of these bytes the client gets; an event that is still incomplete waits for its end."""
        if not self._rest and _USAGE not in chunk and _ERROR not in chunk and chunk.endswith(_ENDS):
            return chunk
        data = self._rest + chunk
        ends = [at + len(mark) for mark in _ENDS if (at := data.rfind(mark)) >= 0]
        if not ends:
            self._rest = data
            return b""
        complete, self._rest = data[: max(ends)], data[max(ends) :]
        return complete if _USAGE not in complete and _ERROR not in complete else self._without_usage(complete)

    def end(self) -> bytes:
        """What is left when the engine has closed the stream."""
        rest, self._rest = self._rest, b""
        return rest

    def _without_usage(self, events: bytes) -> bytes:
        split = _AFTER_EVENT.split(events)
        return b"".join(event for event in split if not self._take(event) or self.wants_usage)

    def _take(self, event: bytes) -> bool:
        """Whether this is the usage event, which is then remembered, as an error is."""
        if _USAGE not in event and _ERROR not in event:
            return False
        try:
            body = orjson.loads(event.partition(b"data:")[2])
        except orjson.JSONDecodeError:
            return False
        if not isinstance(body, dict):
            return False
        if isinstance(body.get("error"), dict):
            self.error = body["error"]
        elif body.get("type") == "error":
            self.error = body
        elif body.get("choices") == [] and isinstance(body.get("usage"), dict):
            self.usage = body
            return True
        return False


def error_at_once(first: bytes) -> dict[str, object] | None:
    """What the engine said where its stream begins with an error; None where it does not."""
    if not first.startswith(_ERROR_FIRST):
        return None
    stream = EventStream(wants_usage=True)
    stream.feed(first)
    return stream.error
