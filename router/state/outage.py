"""How often a store that is away is tried, and how often that is said."""

import logging

logger = logging.getLogger("alpharoute.sharing")

LOG_EVERY_S = 60.0
LONGEST_PAUSE_S = 2.0


class Outage:
    """Counts failures in a row: tries grow rarer up to `LONGEST_PAUSE_S`, and a line is logged once a minute."""

    def __init__(self) -> None:
        self._failures = 0
        self._since_s = 0.0
        self._quiet_until_s = float("-inf")

    @property
    def lasts(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def failed(self, why: str, now_s: float) -> None:
        """A try failed."""
        if not self._failures:
            self._since_s = now_s
        self._failures += 1
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + LOG_EVERY_S
            logger.warning("%s", why)

    def ended(self, now_s: float) -> None:
        """A try succeeded; said where the outage was, so that a log does not end with it."""
        if self._failures:
            logger.info("Redis is back after %.1f s", now_s - self._since_s)
            self._failures = 0

    def pause_s(self, every_s: float) -> float:
        """How long to wait before the next try: `every_s`, twice that after each failure."""
        longest_s = max(every_s, LONGEST_PAUSE_S)
        return float(min(longest_s, every_s * 2 ** min(self._failures, 20)))
