"""How long an engine's next bytes may take: one timer for a whole answer, not one for each of its chunks."""

import asyncio
from math import inf

import aiohttp

from router.api.deadline import Deadline
from router.errors import EngineTimeout


class Vigil:
    """Ends a wait for an engine's bytes when its time is over; as a context manager around each wait.

    The wait then raises EngineTimeout, or DeadlineExceeded where the client's time is over. A timer that was set for an
    earlier wait is left to ring, and is set anew then: setting and clearing one costs as much as passing a chunk on.
    """

    __slots__ = ("_content", "_deadline", "_loop", "_rings_s", "_timer", "_until_s")

    def __init__(self, content: aiohttp.StreamReader, deadline: Deadline) -> None:
        self._content, self._deadline = content, deadline
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = self._until_s = inf

    def within(self, wait_s: float) -> "Vigil":
        """For a wait of so many seconds from now."""
        return self.until(self._loop.time() + wait_s)

    def until(self, at_s: float) -> "Vigil":
        """For a wait until a moment on the loop's clock."""
        self._until_s = at_s
        return self

    def __enter__(self) -> None:
        at_s = min(self._until_s, self._deadline.at_s)
        if at_s < self._rings_s:
            self._ring_at(at_s)

    def __exit__(self, *failure: object) -> None:
        self._until_s = inf

    def end(self) -> None:
        """No further wait will come."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_s = None, inf

    def _ring_at(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_s = self._loop.call_at(at_s, self._ring), at_s

    def _ring(self) -> None:
        self._timer, rang_s, self._rings_s = None, self._rings_s, inf
        if self._until_s == inf:
            return  # nobody waits: the client is the slow one
        at_s = min(self._until_s, self._deadline.at_s)
        if at_s > rang_s:
            self._ring_at(at_s)
        elif self._deadline.at_s <= self._until_s:
            self._content.set_exception(self._deadline.exceeded())
        else:
            self._content.set_exception(silent())


def silent() -> EngineTimeout:
    """What is said of an engine that took a request and then sent nothing for too long."""
    return EngineTimeout("The engine took the request and fell silent.", code="engine_timeout")
