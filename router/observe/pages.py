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
FRESH_S = 1.0
"""How long a page serves every scrape: nobody need show a key to ask for it."""


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
    _built: asyncio.Task[bytes] | None = None
    _fresh_until_s: float = 0.0

    async def page(self) -> bytes:
        """All of it in Prometheus' text format, at most `FRESH_S` old and as long as it takes to write."""
        built, now_s = self._built, time.monotonic()
        if built is None or (built.done() and now_s >= self._fresh_until_s):
            # In a thread, for streams stand still meanwhile: 14 ms for a router's own page, 12 to 43 ms with others'.
            built = self._built = asyncio.create_task(asyncio.to_thread(lambda: one_page(self.by_router())))
            self._fresh_until_s = now_s + FRESH_S
        return await asyncio.shield(built)

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
