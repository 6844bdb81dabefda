"""Before a pool: who may enter now, and who waits for a place."""

import asyncio
import math
import time
from dataclasses import dataclass

from router.api.deadline import Deadline
from router.observe.telemetry import Telemetry
from router.traffic.fleet import Fleet
from router.traffic.waiting import Place, Waiting


@dataclass(slots=True)
class Gate:
    """Lets as many requests into a pool as its engines run at a time, times `concurrency`; the rest wait.

    Engines serve in order of arrival: what waits here can still go by priority, elsewhere, or away.
    """

    fleet: Fleet
    waiting: Waiting
    concurrency: float
    telemetry: Telemetry

    def open(self, pool: str) -> bool:
        """Whether a newcomer may go in without waiting."""
        return not self.waiting.anyone(pool) and self.fleet.has_room(pool, self.concurrency)

    async def wait(
        self, pool: str, segment: str, place: Place, deadline: Deadline, priority: int | None = None
    ) -> None:
        """Wait for a turn, by the segment's priority or the one given.

        Raises Overloaded, or DeadlineExceeded where the client's time ends first.
        """
        began_s = time.monotonic()
        self.telemetry.queued.labels(pool).inc()
        try:
            async with asyncio.timeout_at(deadline.at_s):
                await self.waiting.join(pool, segment, place, began_s, priority)
        except TimeoutError:
            raise deadline.exceeded() from None
        finally:
            self.telemetry.queued.labels(pool).dec()
            self.telemetry.queue_time.labels(pool).observe(time.monotonic() - began_s)

    def left(self, pool: str) -> None:
        """A request of the pool ended: somebody else may come in."""
        self.waiting.note_left(pool, time.monotonic())
        self._let_in(pool)

    async def watch(self, every_s: float) -> None:
        """Let in, until cancelled, those for whom engines that came or other routers' requests that ended make room."""
        while True:
            await asyncio.sleep(every_s)
            for pool in list(self.waiting.lines):
                self._let_in(pool)

    def _let_in(self, pool: str) -> None:
        """As many have their turn as there is room for.

        All where the pool takes nobody any more, since nobody will ever leave it: each is decided anew, and goes to
        another pool or hears that there is no engine.
        """
        if self.waiting.anyone(pool):
            takes = self.fleet.takes(pool)
            self.waiting.wake(pool, self.fleet.room(pool, self.concurrency) if takes else math.inf)
