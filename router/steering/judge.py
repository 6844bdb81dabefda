"""Keeps trials in step: sheets of all routers come together, and one router at a time judges the canary."""

import logging
import time
from dataclasses import dataclass, field

from policies.steering_reports import Canary
from policies.steering_trials import Limits
from router.steering.errors import SteeringError
from router.steering.pilot import CanarySide, Pilot
from router.steering.steering import Steering
from router.steering.sums import canary_of
from router.steering.trial_store import TrialStore

logger = logging.getLogger("alpharoute.steering")

EVERY_S = 1.0
LEASE_S = 3.0

AUTHOR = "alpharoute"
"""Who stops a canary, in the audit trail, where no operator does."""


@dataclass(slots=True)
class Judge:
    """One router's part in trials."""

    steering: Steering
    pilot: Pilot
    trials: TrialStore
    router: str
    limits: Limits
    every_s: float = EVERY_S
    _due_s: float = 0.0
    _sent: dict[str, bytes] = field(default_factory=dict)

    async def exchange(self) -> None:
        """Send what is new of both trials, and judge where it is this router's turn; at most every `every_s`."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self.every_s
        shadow, canary = self.pilot.shadow, self.pilot.canary
        if shadow is not None:
            await self._send(shadow.trial.run, shadow.sums.sheet())
        if canary is not None:
            await self._send(canary.trial.run, canary.sums.sheet())
            if await self.trials.judges(canary.trial.run, self.router, max(LEASE_S, 3 * self.every_s)):
                await self._judge(canary)
        if shadow is None and canary is None:
            self._sent = {}

    async def _send(self, run: str, sheet: bytes) -> None:
        if self._sent.get(run) != sheet:
            await self.trials.put(run, self.router, sheet)
            self._sent[run] = sheet

    async def _judge(self, side: CanarySide) -> None:
        sheets = await self.trials.sheets(side.trial.run)
        found = canary_of(sheets.values(), self.limits)
        if found.fault is not None:
            await self._stop(side, found)

    async def _stop(self, side: CanarySide, found: Canary) -> None:
        trial, why = side.trial, found.fault or ""
        try:
            await self.steering.stop(trial.version, why, AUTHOR, run=trial.run)
        except SteeringError as error:
            logger.info("the canary of version %d was not stopped: %s", trial.version, error)
