"""The few ASGI messages the router reads and writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
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


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client leaves; it then ends with ClientGone.

    The server may cancel the task as well, for the same reason or to stop: that cancellation goes on.
    """
    task = asyncio.current_task()
    assert task is not None, "ASGI applications run in tasks"
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not left or task.uncancel() > 0:
            raise
        raise ClientGone from None
    finally:
        watcher.cancel()


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
