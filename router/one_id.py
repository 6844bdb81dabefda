"""One `x-request-id` in an answer: Ray Serve adds the request's, whether the router has said it or not."""

from collections.abc import Awaitable

from router.access.guard import App
from router.api.head import REQUEST_ID
from router.api.http import Message, Receive, Scope, Send


def unnamed(app: App) -> App:
    """The application without that header in its answers, for a server that adds it.

    It is the same id: Serve gives a request without one an id before the application sees it.
    """

    # No coroutine of its own around the server's: every chunk of a stream passes here.
    def without_id(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        def sent(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name != _NAME]
                message = {**message, "headers": headers}
            return send(message)

        return app(scope, receive, sent)

    return without_id


_NAME = REQUEST_ID.encode()
