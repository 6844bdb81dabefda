"""The few ASGI messages the router reads and writes."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any

from router.api.body_room import BodyShare
from router.errors import BadRequest, RequestError, RequestTimeout, TooLarge, Unsupported

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

JSON = b"application/json"


class ClientGone(Exception):
    """The client closed the connection: there is nobody to answer."""


def header_map(scope: Scope) -> dict[str, str]:
    """The request's headers by lower-case name; the last of equal names wins."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(
    headers: dict[str, str], receive: Receive, *, limit_bytes: int, limit_s: float, share: BodyShare | None = None
) -> bytes:
    """The whole body, held in the `share`; raises TooLarge, RequestTimeout, Overloaded or Unsupported, and ClientGone
    where it never ends."""
    _check_declared(headers, limit_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limit_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                if share is not None:
                    share.grow(size)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        # What is still to come of this body must not be read as the next request.
        why = f"The body did not arrive within {limit_s:g} s."
        raise RequestTimeout(why, code="body_timeout", headers={"connection": "close"}) from None


def _check_declared(headers: dict[str, str], limit_bytes: int) -> None:
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        message = f"content-type must be application/json, got {kind[:64]!r}."
        raise Unsupported(message, param="content-type", code="unsupported_media_type")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        message = f"content-encoding {encoding[:64]!r} is not read: send the body as it is."
        raise Unsupported(message, param="content-encoding", code="unsupported_encoding")
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdecimal()):
        message = f"content-length must be a number, got {declared[:64]!r}."
        raise BadRequest(message, param="content-length", code="invalid_value")
    if len(declared) > 18 or int(declared) > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than the {limit_bytes} bytes allowed.", param="body", code="body_too_large")


class Connected:
    """A client as an async context manager: when it leaves, the block is cancelled and ends with ClientGone.

    The server may cancel the task as well, for the same reason or to stop: that cancellation goes on. A class, for
    every request passes here and a generator costs more.
    """

    __slots__ = ("_left", "_receive", "_task", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive, self._left = receive, False

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leave()

    def leave(self) -> None:
        """Take the client for gone."""
        if not self._left:
            self._left = True
            self._task.cancel()

    async def __aenter__(self) -> "Connected":
        task = asyncio.current_task()
        assert task is not None, "ASGI applications run in tasks"
        self._task, self._watcher = task, asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        if kind is asyncio.CancelledError and self._left and self._task.uncancel() <= 0:
            raise ClientGone from None


async def respond(
    send: Send, status: int, body: bytes, content_type: bytes = JSON, extra: RawHeaders | None = None
) -> None:
    """One whole answer."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def respond_error(
    send: Send, error: RequestError, extra: RawHeaders | None = None, body: bytes | None = None
) -> None:
    """An error, in OpenAI's shape unless `body` words it, with its headers, such as Retry-After where waiting helps."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    await respond(send, error.status, error.body() if body is None else body, extra=[*headers, *(extra or [])])
