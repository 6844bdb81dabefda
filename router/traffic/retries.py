"""Whether a request that an engine failed goes to another one."""

from dataclasses import dataclass

from router.errors import EngineUnreachable
from router.observe.telemetry import Telemetry
from router.state.store import Clock
from router.traffic.budget import RetryBudget


@dataclass(slots=True)
class Retries:
    """At most `most` per request, and all requests together within the budget."""

    most: int
    budget: RetryBudget
    telemetry: Telemetry
    clock_s: Clock

    def asked(self) -> None:
        """A client's request came."""
        self.budget.asked(self.clock_s())

    def again(self, pool: str, error: EngineUnreachable, attempts: int) -> bool:
        """Whether another engine may be asked after so many attempts: never where this one may be at work on it."""
        if not error.repeatable:
            refused = "may_be_at_work"
        elif attempts > self.most:
            refused = "attempts"
        elif not self.budget.take(self.clock_s()):
            refused = "budget"
        else:
            self.telemetry.retries.labels(pool).inc()
            return True
        self.telemetry.retries_refused.labels(pool, refused).inc()
        return False
