"""One replica's circuit breaker: failing, it gets no requests until a probe is answered."""

from dataclasses import dataclass
from enum import StrEnum


class Circuit(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    """Requests pass."""
    OPEN = "open"
    """None passes until the back-off is over."""
    HALF_OPEN = "half_open"
    """None passes; a probe decides."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many failures in a row open a breaker, and for how long: `backoff_s`, doubled each time, `backoff_max_s` at
    most; as many waits in a row of `silent_s` for nothing are a suspicion."""

    failures: int = 5
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    silent_s: float = 10.0


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row; only an answer that came to its end clears them, so neither a heartbeat nor the first
    bytes of an engine that then falls silent bring requests back to it.

    A client's error is an answer. Once open it is closed by a probe alone: no client's request is put at risk to learn
    whether the engine is back. `failures` and `opened` (times in a row) are zero where all is well.
    `silences`: requests in a row that waited long and were given up before a first byte. Where clients have less
    patience than the router, nothing else tells of an engine that hangs; one that is slow looks the same, so a probe
    decides.
    `unconnected`: it is open, and for no other reason than that no connection was made. Trying all the same costs a
    client moments, where an engine that hangs would cost it minutes.
    """

    tolerance: Tolerance = Tolerance()
    failures: int = 0
    opened: int = 0
    silences: int = 0
    until_s: float = 0.0
    unconnected: bool = False

    @property
    def well(self) -> bool:
        """Whether requests go out."""
        return not self.opened

    @property
    def suspected(self) -> bool:
        """Whether it may hang, though requests go out."""
        return self.well and self.silences >= self.tolerance.failures

    def due(self, now_s: float) -> bool:
        """Whether a probe should find out now how the replica is."""
        return self.suspected or self.circuit(now_s) is Circuit.HALF_OPEN

    def circuit(self, now_s: float) -> Circuit:
        """Where it stands now."""
        if not self.opened:
            return Circuit.CLOSED
        return Circuit.OPEN if now_s < self.until_s else Circuit.HALF_OPEN

    def failed(self, now_s: float, *, at_once: bool) -> bool:
        """The engine failed a request; True where that opened the breaker.

        `at_once`: nothing listens there, which needs no second witness. Requests that went out before it opened and
        fail now say nothing new.
        """
        self.failures += 1
        if self.opened or not (at_once or self.failures >= self.tolerance.failures):
            return False
        self.unconnected = at_once
        self._open(now_s)
        return True

    def succeeded(self) -> None:
        """An answer came to its end; one of a request that went out before it opened brings nothing back."""
        if not self.opened:
            self.failures = 0

    def unheard(self, waited_s: float) -> None:
        """A request was given up without a first byte, so long after it went out; soon after, that says nothing."""
        if self.well and waited_s >= self.tolerance.silent_s:
            self.silences += 1

    def heard(self) -> None:
        """First bytes of an answer came: it does not hang."""
        self.silences = 0

    def probed(self, now_s: float, *, good: bool, connected: bool = True) -> None:
        """A probe has ended: requests may go out (again), or the next probe is twice as far away.

        One that failed says nothing of a replica that was suspected when it began, and was heard meanwhile: it is busy.
        """
        self.unconnected = self.unconnected and not connected
        if good:
            self.failures = self.opened = self.silences = 0
        elif self.opened or self.suspected:
            self._open(now_s)

    def _open(self, now_s: float) -> None:
        wait_s = self.tolerance.backoff_s * 2.0 ** min(self.opened, 30)
        self.opened += 1
        self.silences = 0
        self.until_s = now_s + min(wait_s, self.tolerance.backoff_max_s)
