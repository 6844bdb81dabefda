"""POST /v1/embeddings: unit vectors that follow from the seed and the text, as a real model's do from its weights."""

import base64
import math
import struct
from random import Random

import orjson

from engines.simulator.engine import SimulatedEngine
from engines.simulator.exchange import Exchange, Routes
from engines.simulator.generation_routes import prompts_of
from engines.simulator.parsing import parse_body
from engines.simulator.requests import EmbeddingsRequest

DIMENSIONS = 64


class EmbeddingRoutes:
    """Handler of the route."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine

    def routes(self) -> Routes:
        """By path and method."""
        return {"/v1/embeddings": {"POST": self._embed}}

    async def _embed(self, exchange: Exchange) -> None:
        exchange.want_json()
        request = parse_body(EmbeddingsRequest, await exchange.read_body())
        self._engine.check_model(request.model)
        prompts = prompts_of(request.input)
        vectors = [self._vector(prompt.text, request.dimensions or DIMENSIONS) for prompt in prompts]
        worded = _packed if request.encoding_format == "base64" else list
        tokens = sum(prompt.tokens for prompt in prompts)
        reply = {
            "object": "list",
            "model": self._engine.settings.model,
            "data": [{"index": i, "object": "embedding", "embedding": worded(v)} for i, v in enumerate(vectors)],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        await exchange.answer(orjson.dumps(reply))

    def _vector(self, text: str, dimensions: int) -> list[float]:
        random = Random(f"{self._engine.settings.seed}:{text}")
        drawn = [random.gauss(0, 1) for _ in range(dimensions)]
        length = math.sqrt(sum(x * x for x in drawn))
        return [x / length for x in drawn]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
