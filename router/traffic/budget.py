"""How many requests may be sent a second time: a share of all, so that an outage is not amplified."""

import math
from dataclasses import dataclass

MEMORY_S = 10.0
"""Requests and retries count less the longer ago they were, with this time constant."""


@dataclass(slots=True)
class RetryBudget:
    """Allows retries up to `floor` and beside it `share` of the requests, both over about ten seconds."""

    share: float
    floor: float
    requests: float = 0.0
    retries: float = 0.0
    at_s: float = 0.0

    def asked(self, now_s: float) -> None:
        """A client's request came."""
        self._fade(now_s)
        self.requests += 1

    def take(self, now_s: float) -> bool:
        """Whether one more retry is within the budget; it is then spent."""
        self._fade(now_s)
        if self.retries + 1 > self.floor + self.share * self.requests:
            return False
        self.retries += 1
        return True

    def _fade(self, now_s: float) -> None:
        if now_s > self.at_s:
            left = math.exp((self.at_s - now_s) / MEMORY_S)
            self.requests, self.retries = self.requests * left, self.retries * left
        self.at_s = now_s
