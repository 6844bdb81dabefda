"""The ASGI application: find the route, check the key, fail where ordered to, answer."""

import hmac
from collections.abc import Callable
from http import HTTPStatus

import orjson

from engines.simulator.control import ControlRoutes
from engines.simulator.embedding_routes import EmbeddingRoutes
from engines.simulator.engine import SimulatedEngine
from engines.simulator.errors import ApiError
from engines.simulator.exchange import Exchange, Receive, Routes, Scope, Send
from engines.simulator.failures import Failure, FailureKind
from engines.simulator.generation_routes import GenerationRoutes
from engines.simulator.information_routes import InformationRoutes
from engines.simulator.messages_api import MessagesRoutes
from engines.simulator.responses_api import ResponsesRoutes

GUARDED = ("/v1", "/v2", "/inference", "/cohere", "/simulator")
"""Paths that want the key: vLLM's, and the simulator's own."""


class SimulatorApp:
    """Plain ASGI over one engine; `on_exit` ends the process when a failure on demand says so."""

    def __init__(self, engine: SimulatedEngine, on_exit: Callable[[int], None]) -> None:
        self.engine = engine
        self._on_exit = on_exit
        self._key = (engine.settings.api_key or "").encode()
        self._control: Routes = ControlRoutes(engine).routes()
        chat = GenerationRoutes(engine)
        self._generation: Routes = {**chat.routes(), **MessagesRoutes(chat).routes(), **ResponsesRoutes(chat).routes()}
        shown = {**InformationRoutes(engine).routes(), **EmbeddingRoutes(engine).routes()}
        self._routes: Routes = {**shown, **self._generation, **self._control}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._route(exchange)
        except ApiError as error:
            self.engine.tally.rejected += 1
            await exchange.answer(error.body, int(error.status))
        except ConnectionAbortedError:
            self.engine.tally.aborted += 1

    async def _route(self, exchange: Exchange) -> None:
        methods = self._routes.get(exchange.path, {})
        handler = methods.get(exchange.method)
        if not self._authorized(exchange):
            await exchange.answer(b'{"error":"Unauthorized"}', HTTPStatus.UNAUTHORIZED)
        elif handler is None:
            status = HTTPStatus.METHOD_NOT_ALLOWED if methods else HTTPStatus.NOT_FOUND
            await exchange.answer(orjson.dumps({"detail": status.phrase}), status)
        elif exchange.path in self._control:
            await handler(exchange)
        else:
            exchange.failure = self.engine.failures.take(generation=exchange.path in self._generation)
            if exchange.failure is None or not await self._fail(exchange, exchange.failure):
                await handler(exchange)

    def _authorized(self, exchange: Exchange) -> bool:
        if not self._key or not exchange.path.startswith(GUARDED) or exchange.method == "OPTIONS":
            return True
        scheme, _, key = exchange.header(b"authorization").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(key.encode(), self._key)

    async def _fail(self, exchange: Exchange, failure: Failure) -> bool:
        """Carry out a failure that needs no generation; False where the request goes on, to fail later or be slow."""
        if failure.kind in (FailureKind.SLOW, FailureKind.DIE_MID_STREAM, FailureKind.STALL):
            return False
        self.engine.tally.failed += 1
        if failure.kind is FailureKind.ERROR:
            error = ApiError("simulated failure", "InternalServerError", status=failure.status)
            await exchange.answer(error.body, failure.status)
        elif failure.kind is FailureKind.HANG:
            await exchange.gone()
        else:
            if failure.kind is FailureKind.EXIT:
                self._on_exit(failure.exit_code)
            await exchange.cut()
        return True
