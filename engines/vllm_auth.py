"""Middleware for vLLM's server that demands the engine's key everywhere but on /health and /metrics.

vLLM's own check covers /v1, /v2, /inference and /cohere only: /invocations generates text and /scale_elastic_ep
reconfigures the engine without a key.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

OPEN_PATHS = frozenset({"/health", "/metrics"})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REFUSAL = b'{"error":{"message":"a valid API key is needed","type":"authentication_error","code":"invalid_api_key"}}'


class RequireKey:
    """ASGI middleware; the key is VLLM_API_KEY of the process. Without one nothing but the open paths is served."""

    def __init__(self, app: App) -> None:
        self.app = app
        key = os.environ.get("VLLM_API_KEY")
        self.expected = f"Bearer {key}".encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 (and close a websocket)."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or self._allowed(scope):
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_REFUSAL)).encode())]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": _REFUSAL})
        return None

    def _allowed(self, scope: Scope) -> bool:
        if self.expected is None:
            return False
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self.expected)
