"""Answers before the end of the body: the connection ends with them."""

import pytest

from router.api.http import Message, Receive, Scope, Send, respond
from router.unread import closing_unread


async def _read(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


@pytest.mark.parametrize(
    ("declared", "reading", "closes"),
    [
        ([], False, False),
        ([(b"content-length", b"0")], False, False),
        ([(b"content-length", b"4")], False, True),
        ([(b"content-length", b"4")], True, False),
        ([(b"transfer-encoding", b"chunked")], False, True),
        ([(b"transfer-encoding", b"chunked")], True, False),
    ],
)
async def test_an_answer_before_the_body_ends_its_connection(
    declared: list[tuple[bytes, bytes]], reading: bool, closes: bool
) -> None:
    """Where all of it was read, or there is none, the connection serves on."""
    parts, sent = [b"ab", b"cd"], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if reading:
            await _read(receive)
        await respond(send, 401, b"{}")

    async def receive() -> Message:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Message) -> None:
        sent.append(message)

    await closing_unread(app)({"type": "http", "headers": declared}, receive, send)
    assert ((b"connection", b"close") in sent[0]["headers"]) is closes
    assert sent[1]["body"] == b"{}"
