"""Whether a pool that sleeps is missed: the requests that would have chosen it, as the work they would have been."""

import math
from dataclasses import dataclass

WINDOW_S = 60.0
"""Time constant of the mean: shorter than waking takes, longer than a burst."""


@dataclass(slots=True)
class PoolDemand:
    """Requests that a pool would be answering at a time, in a fading mean, and since when they are enough.

    Little's law: requests per second times the seconds that each is predicted to take. `level` is what is enough,
    `delay_s` for how long.
    """

    level: float
    delay_s: float
    concurrency: float = 0.0
    _at_s: float = -math.inf
    _since_s: float | None = None

    def missed(self, busy_s: float, now_s: float) -> bool:
        """Count a request that would take the pool `busy_s` seconds; True where it has been missed for long enough."""
        faded = self.concurrency * math.exp(-max(0.0, now_s - self._at_s) / WINDOW_S)
        if faded < self.level:
            self._since_s = None
        self.concurrency, self._at_s = faded + max(0.0, busy_s) / WINDOW_S, now_s
        if self.concurrency < self.level:
            return False
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= self.delay_s
