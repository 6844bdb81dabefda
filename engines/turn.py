"""Engines of one machine that start together measure their step times one by one, when all of them have loaded.

Loading takes every core there is: an engine that is up first would measure steps a quarter slower than they are, and
the router would keep traffic from it until requests had told it better.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from engines.registry import Heartbeat, Registry

logger = logging.getLogger("alpharoute.engines")

WAITING = "waiting for its turn to measure"


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of the replica `name`, whose engine is at `url`, to measure; waited for during `limit_s` at most."""

    name: str
    url: str
    registry: Registry
    limit_s: float = 60.0
    every_s: float = 0.25

    async def come(self) -> None:
        """Wait until no other engine of this machine loads or measures; at once where the registry cannot be read.

        The caller announces the phase `WAITING` meanwhile: of those that wait, the first by name goes first.
        """
        until_s = time.monotonic() + self.limit_s
        while before := await self._before():
            if time.monotonic() >= until_s:
                logger.warning("%s: measures its step times while %s starts on this machine", self.name, before[0])
                return
            await asyncio.sleep(self.every_s)

    async def _before(self) -> list[str]:
        try:
            beats = await self.registry.replicas()
        except Exception as error:  # a registry that is away must not keep an engine from serving
            logger.debug("%s: cannot see who else starts: %s", self.name, error)
            return []
        return [beat.replica for beat in beats if self._goes_before(beat)]

    def _goes_before(self, other: Heartbeat) -> bool:
        if other.replica == self.name or other.state != "starting" or not other.reloadable:  # a server of others
            return False
        if _host(other.url) != _host(self.url):
            return False
        return not other.phase.startswith(WAITING) or other.replica < self.name


def _host(url: str) -> str | None:
    return urlsplit(url).hostname
