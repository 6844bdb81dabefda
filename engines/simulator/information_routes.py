"""The routes that generate nothing: tokens, models, health and metrics."""

import time

import orjson

from engines.simulator.engine import SimulatedEngine
from engines.simulator.errors import missing_fields
from engines.simulator.exchange import Exchange, Routes
from engines.simulator.parsing import parse_body
from engines.simulator.prometheus import CONTENT_TYPE, metrics_page
from engines.simulator.requests import ChatRequest, DetokenizeRequest, TokenizeRequest
from engines.simulator.tokens import decode, encode

VERSION = "0.32.0"
"""The vLLM whose contract is kept."""


class InformationRoutes:
    """Handlers of everything that generates nothing."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self._started = int(time.time())

    def routes(self) -> Routes:
        """By path and method."""
        return {
            "/v1/models": {"GET": self._models},
            "/tokenize": {"POST": self._tokenize},
            "/detokenize": {"POST": self._detokenize},
            "/health": {"GET": self._health},
            "/version": {"GET": self._version},
            "/metrics": {"GET": self._metrics},
        }

    async def _models(self, exchange: Exchange) -> None:
        settings = self._engine.settings
        card = {
            "id": settings.model,
            "object": "model",
            "created": self._started,
            "owned_by": "vllm",
            "root": settings.model,
            "parent": None,
            "max_model_len": settings.max_model_len,
            "permission": [],
        }
        adapters = [card | {"id": name, "root": name, "parent": settings.model} for name in settings.loras]
        await exchange.answer(orjson.dumps({"object": "list", "data": [card, *adapters]}))

    async def _tokenize(self, exchange: Exchange) -> None:
        exchange.want_json()
        request = parse_body(TokenizeRequest, await exchange.read_body())
        self._engine.check_model(request.model)
        if request.messages is not None:
            text = ChatRequest(messages=request.messages).prompt
        elif request.prompt is not None:
            text = request.prompt
        else:
            raise missing_fields("prompt", "messages")
        tokens = encode(text)
        strings = [decode([token]) for token in tokens] if request.return_token_strs else None
        limit = self._engine.settings.max_model_len
        reply = {"count": len(tokens), "max_model_len": limit, "tokens": tokens, "token_strs": strings}
        await exchange.answer(orjson.dumps(reply))

    async def _detokenize(self, exchange: Exchange) -> None:
        exchange.want_json()
        request = parse_body(DetokenizeRequest, await exchange.read_body())
        self._engine.check_model(request.model)
        await exchange.answer(orjson.dumps({"prompt": decode(request.tokens)}))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.answer(b"", content_type=b"text/plain")

    async def _version(self, exchange: Exchange) -> None:
        await exchange.answer(orjson.dumps({"version": VERSION}))

    async def _metrics(self, exchange: Exchange) -> None:
        await exchange.answer(metrics_page(self._engine.batch), content_type=CONTENT_TYPE)
