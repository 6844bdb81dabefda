"""Answers that come before the request's body has: they end their connection.

Else whoever was refused holds it, and HAProxy's before it, for as long as they go on sending that body, byte by byte.
"""

from collections.abc import Awaitable

from router.access.guard import App
from router.api.http import Message, Receive, Scope, Send

_CLOSE = (b"connection", b"close")


def closing_unread(app: App) -> App:
    """The application, whose answers say `connection: close` where not all of the body was read before them."""

    async def closing(scope: Scope, receive: Receive, send: Send) -> None:
        if not _has_body(scope):
            await app(scope, receive, send)
            return
        whole = False

        async def received() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        # No coroutine of its own around the server's: every chunk of a stream passes here.
        def sent(message: Message) -> Awaitable[None]:
            if not whole and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], _CLOSE]}
            return send(message)

        await app(scope, received, sent)

    return closing


def _has_body(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
