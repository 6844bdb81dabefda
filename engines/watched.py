"""A server by URL in the fleet: verified whenever it comes or comes back, tried again after each failure."""

import asyncio
import logging
import os

from engines.engine import UnreachableError, UrlEngine
from engines.member import IDLE, Announcing, Member
from engines.pool import PoolSettings
from engines.registry import TRYING_AGAIN, Heartbeat, Registry
from engines.vllm_completion import without_login

logger = logging.getLogger("alpharoute.engines")

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
LONGEST_SILENCE_S = 5.0
"""Between two looks at a server that does not answer: a look costs nothing, another self-check costs 600 tokens."""


class Watched:
    """Keeps one server of a pool in the fleet for as long as the pool lives; the pool's others do not notice."""

    failure = None
    """None of its failures is one of the replica that watches it."""
    load = IDLE
    """What it is asked to do is not a reason for more watchers."""

    def __init__(self, name: str, pool: PoolSettings, url: str, registry: Registry, announcing: Announcing) -> None:
        self.name = name
        self._pool = pool
        self._url = url
        self._registry = registry
        self._announcing = announcing
        self._settled = asyncio.Event()
        self._member: Member | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def said(self) -> Heartbeat | None:
        """The last announcement of the server; None before the first."""
        return self._member.said if self._member is not None else None

    async def join(self) -> None:
        """Begin; returns when the server is ready or has failed once: the others must not wait for it."""
        self._keeping = asyncio.create_task(self._keep())
        await self._settled.wait()

    async def leave(self, drain_s: float) -> None:
        """Withdraw the server: its requests are not ours to end."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._member is not None:
            await self._member.leave(drain_s)

    async def _keep(self) -> None:
        pause_s, phase = 0.0, "waiting for it to answer"
        key = _key_of(self._pool)
        while True:
            engine = UrlEngine(self._url, key, pause_s, phase)
            self._member = Member(self.name, self._pool, engine, self._registry, self._announcing)
            try:
                await self._member.join()
            except Exception as error:
                failure = error
            else:
                pause_s = 0.0
                self._settled.set()
                failure = await self._member.failed()
                await self._member.leave(drain_s=0)
            pause_s = _next_pause_s(pause_s, failure)
            phase = f"{TRYING_AGAIN}: {failure}"
            place = without_login(self._url)
            logger.warning("%s (%s): %s; trying again in %.0f s", self.name, place, failure, pause_s)
            self._settled.set()


def _next_pause_s(last_s: float, failure: Exception) -> float:
    longest_s = LONGEST_SILENCE_S if isinstance(failure, UnreachableError) else LONGEST_RETRY_S
    return min(longest_s, max(FIRST_RETRY_S, 2 * last_s))


def _key_of(pool: PoolSettings) -> str | None:
    """The key that the pool's servers want; one by environment is read where it is used, and settings never hold it."""
    if pool.api_key_env is not None:
        return os.environ.get(pool.api_key_env)
    return pool.api_key.get_secret_value() if pool.api_key else None
