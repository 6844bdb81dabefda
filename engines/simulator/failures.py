"""Failures on demand: what the next requests, or all until further notice, run into."""

from enum import StrEnum
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field


class FailureKind(StrEnum):
    """What happens to a request."""

    REFUSE = "refuse"
    """The connection is closed before a byte is answered."""
    HANG = "hang"
    """The request is taken and never answered."""
    ERROR = "error"
    """An error status with an OpenAI error object."""
    DIE_MID_STREAM = "die_mid_stream"
    """The connection is closed after some chunks, or before the body where the answer is not streamed."""
    SLOW = "slow"
    """Steps take `factor` times as long while the request runs."""
    STALL = "stall"
    """The whole engine hangs: what runs and what comes stands still, /health and /metrics go on, until cleared."""
    EXIT = "exit"
    """The server's process ends at once."""


class Failure(BaseModel):
    """One order: a kind, for the next `requests` requests or (None) until cleared.

    `everything` extends it from generation to every route but /simulator/…: a hung engine answers no /health either.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FailureKind
    requests: int | None = Field(default=None, ge=1)
    everything: bool = False
    status: int = Field(default=int(HTTPStatus.INTERNAL_SERVER_ERROR), ge=400, le=599, description="of `error`")
    after_chunks: int = Field(default=1, ge=0, description="of `die_mid_stream`: events sent before it")
    factor: float = Field(default=10.0, ge=1, description="of `slow`")
    exit_code: int = Field(default=1, ge=0, le=255, description="of `exit`")


class FailureQueue:
    """Orders in the sequence they came; the first that applies to a request is used up by it."""

    def __init__(self, orders: tuple[Failure, ...] = ()) -> None:
        self._orders: list[tuple[Failure, int | None]] = [(order, order.requests) for order in orders]

    def add(self, order: Failure) -> None:
        """Put one more order behind the others."""
        self._orders.append((order, order.requests))

    def clear(self) -> None:
        """Back to health."""
        self._orders.clear()

    def pending(self) -> list[dict[str, object]]:
        """The orders in force, each with the requests it still waits for (None: until cleared)."""
        return [order.model_dump(mode="json") | {"requests": left} for order, left in self._orders]

    def take(self, *, generation: bool) -> Failure | None:
        """The failure of the request that just came, or None."""
        for at, (order, left) in enumerate(self._orders):
            if generation or order.everything:
                if left == 1:
                    del self._orders[at]
                elif left is not None:
                    self._orders[at] = (order, left - 1)
                return order
        return None
