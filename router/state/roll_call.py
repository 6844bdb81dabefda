"""Who is there, asked of the engines' own deployments: for a router that cannot read the registry."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engines.registry import Heartbeat, HeartbeatReader

LIMIT_S = 1.0


class PoolHandle(Protocol):
    """What a Ray Serve handle of a pool's deployment offers."""

    def broadcast(self, method_name: str) -> Any:
        """Call a method of every replica; `results_async` of what comes back waits for their answers."""


@dataclass(frozen=True, slots=True)
class RollCall:
    """Asks every replica of every pool; Serve tells handles of replicas by itself, without Redis."""

    pools: Sequence[PoolHandle]
    _reader: HeartbeatReader = field(default_factory=HeartbeatReader)

    async def __call__(self) -> list[Heartbeat]:
        """The heartbeats of all that answer within a second: not necessarily of all there are."""
        answers = await asyncio.gather(*map(self._present, self.pools))
        beats = (self._reader.read(text) for texts in answers for text in texts)
        return [beat for beat in beats if beat is not None]

    async def _present(self, pool: PoolHandle) -> list[str]:
        try:
            asking = pool.broadcast("present")
            given = await asking.results_async(timeout_s=LIMIT_S, return_exceptions=True)
        except Exception:
            return []  # a pool none of whose replicas runs: the others are asked all the same
        return [text for one in given if not isinstance(one, BaseException) for text in one]
