"""Simulated time: a clock that runs `time_scale` times as fast as the wall and steps that end when they should."""

import asyncio
import time
from typing import Protocol

LATE_S = 0.003
"""Wall seconds a step may end late before the clock admits it: timers of the event loop are 1 ms coarse, and a step
that begins where the last one should have ended keeps the mean right."""


class Pace(Protocol):
    """The engine's clock. `now_s` is the simulated time at which the current step began."""

    now_s: float

    def clock_s(self) -> float:
        """Simulated seconds since the start, now."""

    def resume(self) -> None:
        """Begin the next step now: the engine was idle."""

    async def wait(self, step_s: float) -> None:
        """Let the step that began at `now_s` and takes `step_s` end, and move `now_s` there."""


class VirtualPace:
    """Time passes in steps only: the engine runs as fast as it can."""

    def __init__(self, burst_steps: int = 1) -> None:
        self.now_s = 0.0
        self._burst_steps = burst_steps
        self._unyielded = 0

    def clock_s(self) -> float:
        """The beginning of the current step."""
        return self.now_s

    def resume(self) -> None:
        """Idling takes no time."""

    async def wait(self, step_s: float) -> None:
        """Move on at once; others run in between, at the latest after `burst_steps` steps."""
        self.now_s += step_s
        self._unyielded += 1
        if self._unyielded >= self._burst_steps:
            self._unyielded = 0
            await asyncio.sleep(0)


class WallPace:
    """Time passes `time_scale` times as fast as on the wall."""

    def __init__(self, time_scale: float) -> None:
        self.time_scale = time_scale
        self.now_s = 0.0
        self._origin_s = time.monotonic()

    def clock_s(self) -> float:
        """From the wall clock."""
        return (time.monotonic() - self._origin_s) * self.time_scale

    def resume(self) -> None:
        """The idle time counts."""
        self.now_s = max(self.now_s, self.clock_s())

    async def wait(self, step_s: float) -> None:
        """Sleep until the step that began at `now_s` ends, and move `now_s` there."""
        end_s = self.now_s + step_s
        await asyncio.sleep(max(0.0, (end_s - self.clock_s()) / self.time_scale))
        clock_s = self.clock_s()
        late = clock_s > end_s + (LATE_S * self.time_scale if step_s else 0.0)
        self.now_s = clock_s if late else end_s
