"""The door in front of the ingress: who is it, may they, is there room; only then is a request's body read.

Everything is decided from the router's own copies of keys and use, so that nothing here waits for Redis or a file.
"""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from router.access.credentials import check_head, shown_key, without_secrets
from router.access.denials import Forbidden, KeysUnknown, limit_reached, no_key, not_your_role
from router.access.foreign import check_foreign
from router.access.keys import Key
from router.access.known_keys import KnownKeys
from router.access.ratelimit_headers import limit_headers
from router.access.usage import Admitted, Refused, Usage
from router.api.dialect import ANTHROPIC, OPENAI
from router.api.head import REQUEST_ID, SEGMENT, request_id
from router.api.http import ClientGone, Message, RawHeaders, Receive, Scope, Send, header_map, respond_error
from router.config.auth import AuthSettings
from router.errors import NotFound, RequestError
from router.observe.telemetry import Telemetry
from router.roles import METRICS, PROBES, READING, is_inside, needed_role
from router.state.store import Clock
from router.traffic.metering import BYTES_PER_TOKEN, Meter, begin

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Side = Literal["all", "public", "admin"]
"""What a listener serves: all there is, only the API, or only the pages about the service."""

WHO = "alpharoute.who"
"""Where the scope says whose key a request came with, for what is written of changes."""

_FENCE: RawHeaders = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    ),
]

_ANTHROPIC_PATHS = re.compile(r"^/v1/messages(/|$)")


class BrokenOff(Exception):
    """An answer could not be finished; names the kind of the failure, which the ingress has logged."""


@dataclass(slots=True)
class Guard:
    """An ASGI application that passes on what may come in."""

    app: App
    settings: AuthSettings
    keys: KnownKeys
    usage: Usage
    telemetry: Telemetry
    clock_s: Clock
    side: Side = "all"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        began_s = time.perf_counter()
        try:
            check_head(scope)
            self._check_side(scope["path"])
            key = self._admit(scope)
            admitted = self._count(key, scope) if key is not None else None
        except RequestError as error:
            await self._refuse(scope, send, error)
        except ClientGone:
            return
        else:
            self.telemetry.stages["admit"].observe(time.perf_counter() - began_s)
            try:
                await self._pass(scope, receive, send, key, admitted)
            except Exception as error:
                # The server breaks the connection off, and logs what it gets: words that may quote a client stay here.
                raise BrokenOff(type(error).__name__) from None

    def _check_side(self, path: str) -> None:
        inside = is_inside(path)
        everywhere = path in PROBES or path == METRICS
        if (inside and self.side == "public") or (self.side == "admin" and not inside and not everywhere):
            # Not told apart from a route that does not exist: what is on the other port is nobody's business here.
            raise NotFound(f"There is no {path[:128]!r} here.", code="unknown_route")

    def _admit(self, scope: Scope) -> Key | None:
        """The key behind a request that may go on; None where none is needed."""
        if not self.settings.needs_keys:
            check_foreign(scope, anonymous=self.settings.allow_anonymous)
            return None
        method, path = scope["method"], scope["path"]
        needed = needed_role(method, path, self.settings.metrics_role)
        if needed is None:
            return None
        presented = shown_key(scope)
        key = self.keys.ring.find(presented, self.clock_s()) if presented else None
        if key is None:
            if presented and not self.keys.complete:
                message = "The keys are not known here yet."
                raise KeysUnknown(message, code="keys_unknown", headers={"retry-after": "1"})
            raise no_key(bool(presented))
        if not key.role.covers(needed):
            raise not_your_role(key, needed)
        _segment(key, scope)
        return key

    def _count(self, key: Key, scope: Scope) -> Admitted | None:
        if scope["method"] in READING or is_inside(scope["path"]) or not key.limited:
            return None
        counted = self.usage.admit(key, _bytes_of(scope) // BYTES_PER_TOKEN)
        if isinstance(counted, Refused):
            error = limit_reached(counted)
            error.headers = {**error.headers, **{n.decode(): v.decode() for n, v in limit_headers(counted.rooms)}}
            raise error
        return counted

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, key: Key | None, admitted: Admitted | None
    ) -> None:
        inner = without_secrets(scope, None if key is None else _segment(key, scope))
        inner[WHO] = None if key is None else key.id
        if admitted is None:
            await self.app(inner, receive, _fenced(send) if is_inside(scope["path"]) else send)
            return
        meter = begin(_bytes_of(scope))
        try:
            await self.app(inner, _counted(receive, meter), _metered(send, meter, admitted))
        finally:
            self.usage.close(admitted, meter.tokens)

    async def _refuse(self, scope: Scope, send: Send, error: RequestError) -> None:
        self.telemetry.refused.labels(error.code or str(error.status)).inc()
        path = scope["path"]
        dialect = ANTHROPIC if _ANTHROPIC_PATHS.match(path) else OPENAI
        named = (REQUEST_ID.encode(), request_id(header_map(scope)).encode())
        await respond_error(send, error, [named], dialect.refusal(error))


def _segment(key: Key, scope: Scope) -> str | None:
    """The segment of a request with this key: the one it names, else the key's own; None where any will do."""
    if not key.segments:
        return None
    named = header_map(scope).get(SEGMENT, key.segments[0]).strip()
    if named not in key.segments:
        allowed = ", ".join(key.segments)
        message = f"This key may name the segments {allowed}, not {named[:32]!r}."
        raise Forbidden(message, param=SEGMENT, code="forbidden_segment")
    return named


def _fenced(send: Send) -> Send:
    """A `send` for pages that need a role: nothing keeps them, no other site frames them."""

    async def fenced(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_FENCE]}
        await send(message)

    return fenced


def _counted(receive: Receive, meter: Meter) -> Receive:
    """A `receive` that tells the meter how much came in, where no length was declared."""

    async def counted() -> Message:
        message = await receive()
        meter.received += len(message.get("body", b""))
        return message

    return counted


def _metered(send: Send, meter: Meter, admitted: Admitted) -> Send:
    """A `send` that tells the client how its limits stand, and the meter what goes out."""

    # No coroutine of its own around the server's: every chunk of a stream passes here.
    def metered(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            meter.status = message["status"]
            headers: RawHeaders = [*message.get("headers", ()), *limit_headers(admitted.rooms)]
            message = {**message, "headers": headers}
        else:
            meter.passes(message.get("body", b""))
        return send(message)

    return metered


def _bytes_of(scope: Scope) -> int:
    """The declared length of the body; 0 where it is not known before it is read."""
    declared = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
    return int(declared) if declared.isdigit() and len(declared) < 16 else 0
