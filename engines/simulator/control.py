"""The simulator's own routes: what it did, what it should fail at, how well its drafter does."""

from dataclasses import asdict
from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engines.simulator.engine import SimulatedEngine
from engines.simulator.errors import wrong_types
from engines.simulator.exchange import Exchange, Routes
from engines.simulator.failures import Failure


class AcceptanceScale(BaseModel):
    """Multiply h of one task (None: of all that have no scale of their own) for requests from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: float = Field(ge=0)
    task: str | None = None


OrderT = TypeVar("OrderT", bound=BaseModel)
_FAILURE = TypeAdapter(Failure)
_SCALE = TypeAdapter(AcceptanceScale)


class ControlRoutes:
    """Handlers of /simulator/…"""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine

    def routes(self) -> Routes:
        """By path and method."""
        return {
            "/simulator/state": {"GET": self._state},
            "/simulator/acceptance": {"POST": self._scale},
            "/simulator/failures": {"GET": self._pending, "POST": self._order, "DELETE": self._clear},
        }

    async def _state(self, exchange: Exchange) -> None:
        await exchange.answer(orjson.dumps(engine_state(self._engine)))

    async def _scale(self, exchange: Exchange) -> None:
        order = _parse(_SCALE, await exchange.read_body())
        self._engine.acceptance_scale[order.task] = order.scale
        await self._state(exchange)

    async def _pending(self, exchange: Exchange) -> None:
        await exchange.answer(orjson.dumps(self._engine.failures.pending()))

    async def _order(self, exchange: Exchange) -> None:
        self._engine.failures.add(_parse(_FAILURE, await exchange.read_body()))
        await self._pending(exchange)

    async def _clear(self, exchange: Exchange) -> None:
        self._engine.failures.clear()
        self._engine.batch.resume()
        await self._pending(exchange)


def engine_state(engine: SimulatedEngine) -> dict[str, object]:
    """What GET /simulator/state answers: the batch now, how requests ended, and the latest of them one by one."""
    batch, tally = engine.batch, engine.tally
    return {
        "model": engine.settings.model,
        "running": len(batch.running),
        "waiting": len(batch.waiting),
        "kv_usage": batch.kv_usage,
        "steps": batch.counts.steps,
        "served": tally.served,
        "aborted": tally.aborted,
        "failed": tally.failed,
        "rejected": tally.rejected,
        "failures": engine.failures.pending(),
        "recent": [asdict(record) for record in tally.recent],
    }


def _parse(kind: TypeAdapter[OrderT], raw: bytes) -> OrderT:
    try:
        return kind.validate_json(raw)
    except ValidationError as error:
        raise wrong_types(error.errors(include_url=False)) from None
