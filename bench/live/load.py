"""How requests arrive: a fixed number of clients that each wait for their answer, or Poisson arrivals at a rate."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

from bench.live.plan import Shot

Send = Callable[[Shot], Awaitable[None]]

CAPACITY_CLIENTS = 8
"""Clients of the closed loop in which the capacity of always-vanilla is measured."""

BLOCK = 14
"""Requests an arm gets in a row under load: arms cannot take turns request by request where these share a batch."""


@dataclass(frozen=True, slots=True)
class Load:
    """`clients` of a closed loop, or a `share` of always-vanilla's capacity as Poisson arrivals."""

    clients: int = 0
    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """`4` is four clients, `80%` a share; ValueError says what is allowed."""
        try:
            if text.endswith("%") and (share := float(text[:-1]) / 100) > 0:
                return cls(share=share)
            if not text.endswith("%") and (clients := int(text)) > 0:
                return cls(clients=clients)
        except ValueError:
            pass
        raise ValueError(f"a load is a number of clients or a share of vanilla's capacity (4, 80%), got {text!r}")

    @property
    def alone(self) -> bool:
        """One request at a time: arms can take turns request by request."""
        return self.clients == 1

    def __str__(self) -> str:
        if self.share:
            return f"{self.share:.0%} of capacity"
        return f"{self.clients} client{'s' if self.clients > 1 else ''}"


def blocks(shots: Sequence[Shot], load: Load) -> list[list[Shot]]:
    """The shots in the pieces that one arm gets at a time; a rest too short for its load joins the piece before."""
    size = 1 if load.alone else BLOCK
    pieces = [list(shots[start : start + size]) for start in range(0, len(shots), size)]
    if len(pieces) > 1 and len(pieces[-1]) < size:
        rest = pieces.pop()
        pieces[-1] += rest
    return pieces


async def closed_loop(shots: Sequence[Shot], clients: int, send: Send) -> None:
    """Each client sends its next request when it has the answer to its last."""
    waiting = iter(shots)

    async def client() -> None:
        for shot in waiting:
            await send(shot)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(clients, len(shots))):
            group.create_task(client())


async def poisson(shots: Sequence[Shot], rate_per_s: float, seed: int, send: Send) -> None:
    """Requests arrive on their own, whatever became of those before; the same times for the same seed."""
    draws = random.Random(seed)
    async with asyncio.TaskGroup() as group:
        for shot in shots:
            await asyncio.sleep(draws.expovariate(rate_per_s))
            group.create_task(_awaited(send, shot))


async def _awaited(send: Send, shot: Shot) -> None:
    await send(shot)
