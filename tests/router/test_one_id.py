"""One `x-request-id` in an answer, where the server adds it."""

from router.api.http import Message, Receive, Scope, Send
from router.one_id import unnamed


async def test_the_router_s_own_is_left_out() -> None:
    """Everything else passes as it is, the bytes of the body untouched."""
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"x-request-id", b"r-1"), (b"x-alpharoute-k", b"2")],
    }
    body: Message = {"type": "http.response.body", "body": b"x-request-id"}
    sent: list[Message] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send(body)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await unnamed(answer)({"type": "http"}, receive, send)
    assert sent == [{**start, "headers": [(b"x-alpharoute-k", b"2")]}, body]
    assert len(start["headers"]) == 2, "what the router holds stays whole"
