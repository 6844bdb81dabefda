"""How long a client will wait: its header or the operator's bound, counted down and told to the engine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from policies.quick import quick
from router.errors import BadRequest, ClientDeadlineExceeded, DeadlineExceeded

TIMEOUT = "x-request-timeout-ms"
MAX_DIGITS = 9


@quick
@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the event loop's clock, and the milliseconds that were granted."""

    at_s: float
    granted_ms: int
    of_client: bool = False
    """Whether the client asked for less than the operator grants."""

    def left_ms(self, now_s: float) -> int:
        """Whole milliseconds that remain, at least one; raises DeadlineExceeded where there are none."""
        if now_s >= self.at_s:
            raise self.exceeded()
        return max(1, int((self.at_s - now_s) * 1000))

    def exceeded(self) -> DeadlineExceeded:
        """What the client is told."""
        message = f"The answer was not complete within {self.granted_ms} ms ({TIMEOUT}, or limits.request_s)."
        kind = ClientDeadlineExceeded if self.of_client else DeadlineExceeded
        return kind(message, param=TIMEOUT, code="deadline_exceeded")


UNBOUNDED = Deadline(math.inf, 0)
"""For what is asked on nobody's behalf."""


def deadline(headers: Mapping[str, str], limit_s: float, now_s: float) -> Deadline:
    """The client's bound where it names one below the operator's; raises BadRequest where it is no whole number."""
    granted_ms = int(limit_s * 1000)
    asked = headers.get(TIMEOUT)
    if asked is not None:
        given = asked.strip()
        if not (given.isascii() and given.isdecimal() and len(given) <= MAX_DIGITS and int(given)):
            message = f"{TIMEOUT} must be a whole number of milliseconds from 1, got {asked[:32]!r}."
            raise BadRequest(message, param=TIMEOUT, code="invalid_value")
        if int(given) < granted_ms:
            return Deadline(now_s + int(given) / 1000, int(given), of_client=True)
    return Deadline(now_s + granted_ms / 1000, granted_ms)
