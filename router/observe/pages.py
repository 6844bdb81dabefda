"""Every router's metrics page at each of them: a load balancer sends a scrape to one, which answers for all."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from router.observe.exposition import one_page
from router.observe.telemetry import Telemetry

logger = logging.getLogger("alpharoute.pages")

EVERY_S = 5.0
STALE_S = 3 * EVERY_S


@dataclass(frozen=True, slots=True)
class Posted:
    """A router's page and when it was written (Unix time)."""

    at_s: float
    page: str


class Board(Protocol):
    """Where routers post their pages; every method may raise StoreError."""

    async def post(self, router: str, posted: Posted) -> None:
        """Put up a router's page in place of its last."""

    async def posted(self) -> Mapping[str, Posted]:
        """Every page by router."""


class MemoryBoard:
    """A board inside one process."""

    def __init__(self) -> None:
        self._posted: dict[str, Posted] = {}

    async def post(self, router: str, posted: Posted) -> None:
        """See Board."""
        self._posted[router] = posted

    async def posted(self) -> Mapping[str, Posted]:
        """See Board."""
        return dict(self._posted)


@dataclass(slots=True)
class Pages:
    """This router's page, as it is now, and those of the others, as they were at most `STALE_S` ago.

    While Redis is away only the router's own is known: a scrape then tells of whichever router it met.
    """

    router: str
    telemetry: Telemetry
    board: Board
    others: Mapping[str, Posted] = field(default_factory=dict)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return one_page(self.by_router())

    def by_router(self) -> dict[str, str]:
        """Each router's page by itself."""
        now_s = time.time()
        fresh = {name: one.page for name, one in self.others.items() if now_s - one.at_s < STALE_S}
        return {self.router: self.telemetry.exposition().decode(), **fresh}

    async def run(self) -> None:
        """Exchange pages until cancelled."""
        task = asyncio.current_task()
        # Asked each round: redis-py may swallow a cancellation that meets one of its own timeouts.
        while task is not None:
            try:
                await self.exchange()
            except Exception as error:
                # Whatever another version posted must not end this loop; that Redis is away is told by others.
                logger.debug("metrics pages are not exchanged: %s: %s", type(error).__name__, error)
            if task.cancelling():
                return
            await asyncio.sleep(EVERY_S)

    async def exchange(self) -> None:
        """Post this router's page and read the others'."""
        # Writing the page takes milliseconds: in a thread, requests meanwhile go on.
        page = await asyncio.to_thread(self.telemetry.exposition)
        await self.board.post(self.router, Posted(time.time(), page.decode()))
        posted = await self.board.posted()
        self.others = {name: one for name, one in posted.items() if name != self.router}
