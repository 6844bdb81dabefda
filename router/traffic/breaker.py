"""One replica's circuit breaker: failing, it gets no requests for a while, then one on trial."""

from dataclasses import dataclass
from enum import StrEnum


class Circuit(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    """Requests pass."""
    OPEN = "open"
    """None passes until the back-off is over."""
    HALF_OPEN = "half_open"
    """One passes on trial; its end decides."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many failures in a row open a breaker, and for how long: `backoff_s`, doubled each time, `backoff_max_s` at
    most."""

    failures: int = 5
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row; only an answer that came to its end clears them, so neither a heartbeat nor the first
    bytes of an engine that then falls silent bring requests back to it.

    A client's error is an answer. `failures` and `opened` (times in a row) are zero where all is well.
    """

    tolerance: Tolerance = Tolerance()
    failures: int = 0
    opened: int = 0
    until_s: float = 0.0
    on_trial: bool = False

    @property
    def well(self) -> bool:
        """Whether it admits without asking the clock."""
        return not self.opened

    def circuit(self, now_s: float) -> Circuit:
        """Where it stands now."""
        if not self.opened:
            return Circuit.CLOSED
        return Circuit.OPEN if now_s < self.until_s else Circuit.HALF_OPEN

    def admits(self, now_s: float) -> bool:
        """Whether a request may go out now."""
        return not self.opened or (now_s >= self.until_s and not self.on_trial)

    def goes_out(self) -> bool:
        """A request goes out; True where it is the trial, whose end must be told with `trial=True`."""
        trial = bool(self.opened) and not self.on_trial
        self.on_trial = self.on_trial or trial
        return trial

    def failed(self, now_s: float, *, at_once: bool, trial: bool) -> bool:
        """The engine failed a request; True where that opened the breaker.

        `at_once`: nothing listens there, which needs no second witness. Requests that went out before it opened and
        fail now say nothing new.
        """
        self.failures += 1
        self.on_trial = self.on_trial and not trial
        if self.opened and not trial:
            return False
        if not (trial or at_once or self.failures >= self.tolerance.failures):
            return False
        wait_s = self.tolerance.backoff_s * 2.0 ** min(self.opened, 30)
        self.opened += 1
        self.until_s = now_s + min(wait_s, self.tolerance.backoff_max_s)
        return True

    def succeeded(self, *, trial: bool) -> bool:
        """An answer came to its end; True where that closed the breaker. While it is open only its trial counts."""
        if self.opened and not trial:
            return False
        closed = bool(self.opened)
        self.failures, self.opened, self.on_trial = 0, 0, False
        return closed

    def came_to_nothing(self, *, trial: bool) -> None:
        """The client left: nothing is known, and the next request is the trial."""
        self.on_trial = self.on_trial and not trial
