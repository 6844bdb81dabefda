"""One HTTP request and its answer over plain ASGI."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from engines.simulator.errors import unsupported_media_type
from engines.simulator.failures import Failure

# ASGI's own types: messages are open mappings by its specification.
Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]

Handler = Callable[["Exchange"], Awaitable[None]]
Routes = dict[str, dict[str, Handler]]
"""Handlers by path and method."""

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

TRANSPORT = "alpharoute.transport"
"""Key of the scope under which the server's protocol leaves the connection, to be cut on demand."""


class Exchange:
    """Reading the request, writing the answer, noticing that the client left, cutting the connection."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.failure: Failure | None = None
        self._headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        self._transport: asyncio.Transport | None = scope.get(TRANSPORT)
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> str:
        """The value of a header by its lower-case name, or nothing."""
        return next((value.decode("latin-1") for key, value in self._headers if key == name), "")

    def want_json(self) -> None:
        """Refuse a body that is not declared as JSON."""
        if self.header(b"content-type").partition(";")[0].lower() != "application/json":
            raise unsupported_media_type()

    async def read_body(self) -> bytes:
        """The whole body."""
        parts: list[bytes] = []
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError("the client left while sending its request")
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(parts)

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, body: bytes, status: int = 200, content_type: bytes = JSON) -> None:
        """A whole answer."""
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def open_stream(self) -> None:
        """The head of an event stream."""
        headers = [(b"content-type", EVENT_STREAM)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def stream(self, data: bytes, *, last: bool = False) -> None:
        """A part of the stream."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def cut(self) -> None:
        """Close the connection without finishing the answer, as the death of the process would."""
        if self._transport is None:
            raise ConnectionAbortedError("cut on demand")
        self._transport.close()
        await self.gone()
