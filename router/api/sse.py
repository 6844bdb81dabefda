"""Server-sent events passing through: bytes go on untouched; the router keeps the usage event and notes an error."""

import re
from dataclasses import dataclass, field

import orjson

from router.api.body import ON_THE_LOOP_BYTES

# vLLM ends an event with two line feeds; other servers with CR LF twice.
_ENDS = (b"\n\n", b"\n\r\n")
_AFTER_EVENT = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)")
# Within a JSON string the quotes would be escaped.
_USAGE = b'"usage":'
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_ERROR = b'"error"'
_ERROR_FIRST = (b'data: {"error"', b"event: error")
_CUT_END_BYTES = 2
_LONG_BYTES = 1 << 20
"""No usage event is longer: 200,000 verify steps. A prompt's log-probabilities can be."""


@dataclass(slots=True)
class EventStream:
    """One streamed answer; feed it what the engine sends, write on what it returns.

    The usage event (no choices, last before `[DONE]`) carries the engine's metrics. The router always asks for it,
    so it is passed on only where the client asked too. `error` is what an engine said that failed after its 200: the
    event goes to the client as any other does.

    Of an event that is longer than `long_bytes`, and so is neither, parts go on before its end has come.
    """

    wants_usage: bool
    usage: dict[str, object] | None = None
    error: dict[str, object] | None = None
    long_bytes: int = _LONG_BYTES
    _rest: list[bytes] = field(default_factory=list, repr=False)
    _rest_bytes: int = 0
    _rest_end: bytes = field(default=b"", repr=False)

    def feed(self, chunk: bytes) -> bytes:
        """What of these bytes the client gets; an event that is still incomplete waits for its end."""
        ready = chunk if not self._rest and chunk.endswith(_ENDS) else self._ready(chunk)
        if _ERROR not in ready and (_USAGE not in ready or not _NO_CHOICES.search(ready)):
            return ready  # reading an event takes ten times as long as looking for what makes it worth reading
        return self._without_usage(ready)

    def end(self) -> bytes:
        """What is left when the engine has closed the stream."""
        rest = b"".join(self._rest)
        self._wait(b"")
        return rest

    def _ready(self, chunk: bytes) -> bytes:
        """The events that these bytes complete, else the beginning of a long one; what follows waits."""
        # Only what is new is searched: over all that waits, ten megabytes of one event took a second.
        data = self._rest_end + chunk
        end = _end(data) - len(self._rest_end)
        if end <= 0:
            self._wait_too(chunk)
            return self._begun() if self._rest_bytes > self.long_bytes else b""
        ready = b"".join((*self._rest, chunk[:end])) if self._rest else chunk[:end]
        self._wait(chunk[end:])
        return ready

    def _begun(self) -> bytes:
        """What goes on of a long event.

        It is cut behind a comma, so that no count of tokens is read as a shorter one, or before an end that is cut.
        """
        event = b"".join(self._rest)
        cut = event.rfind(b",", 0, -_CUT_END_BYTES) + 1 or len(event) - _CUT_END_BYTES
        self._wait(event[cut:])
        return event[:cut]

    def _wait(self, rest: bytes) -> None:
        self._rest, self._rest_bytes, self._rest_end = [rest] if rest else [], len(rest), rest[-_CUT_END_BYTES:]

    def _wait_too(self, chunk: bytes) -> None:
        self._rest.append(chunk)
        self._rest_bytes += len(chunk)
        self._rest_end = (self._rest_end + chunk)[-_CUT_END_BYTES:]

    def _without_usage(self, events: bytes) -> bytes:
        split = _AFTER_EVENT.split(events)
        return b"".join(event for event in split if not self._take(event) or self.wants_usage)

    def _take(self, event: bytes) -> bool:
        """Whether this is the usage event, which is then remembered, as an error is."""
        if not _may_tell(event):
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


def _may_tell(event: bytes) -> bool:
    """Whether an event, or a part of a long one, is worth reading: long ones that name errors are log-probabilities."""
    if not event.endswith(_ENDS):
        return False
    told = _USAGE in event and _NO_CHOICES.search(event) is not None
    return told or (_ERROR in event and len(event) <= ON_THE_LOOP_BYTES)


def _end(data: bytes) -> int:
    """Where the last event that is complete ends; 0 where none does."""
    lf, crlf = data.rfind(_ENDS[0]), data.rfind(_ENDS[1])
    if lf == crlf:
        return 0
    return lf + len(_ENDS[0]) if lf > crlf else crlf + len(_ENDS[1])


def error_at_once(first: bytes) -> dict[str, object] | None:
    """What the engine said where its stream begins with an error; None where it does not."""
    if not first.startswith(_ERROR_FIRST):
        return None
    stream = EventStream(wants_usage=True)
    stream.feed(first)
    return stream.error
