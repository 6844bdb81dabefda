"""A time-out for what the network does, which does not run while this process stands still itself."""

import asyncio
from types import TracebackType

STEPS = 4
"""Parts of the limit, each with a timer of its own."""

LATE = 0.2
"""A timer that fires later than this share of a part: the loop stood still, and what arrived was not looked at."""

MOST_STEPS = 4 * STEPS
"""However late they all are: a machine that never catches up must not wait for ever."""


class RunningTime:
    """Use as an async context manager: TimeoutError after `limit_s`, less what the event loop was too busy to run.

    A loop that was held up runs the timers that came due meanwhile before it sees which connections were made, or needs
    several rounds to make one; every connection that was under way would be given up at once, to all engines.
    """

    __slots__ = ("_due_s", "_limit", "_loop", "_step_s", "_steps", "_timely", "_timer")

    def __init__(self, limit_s: float) -> None:
        self._step_s = limit_s / STEPS
        self._steps = self._timely = 0

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()
        self._start()

    def _start(self) -> None:
        self._due_s = self._loop.time() + self._step_s
        self._timer = self._loop.call_at(self._due_s, self._end)

    def _end(self) -> None:
        self._steps += 1
        self._timely += self._loop.time() - self._due_s < LATE * self._step_s
        if self._timely == STEPS or self._steps == MOST_STEPS:
            self._limit.reschedule(self._due_s)
        else:
            self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, at)
