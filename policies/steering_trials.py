"""Whether a canary is worse than the rest of the traffic: sums that add up over routers, tests valid at any time."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from policies.holdout import radius
from policies.steering_reports import Arm, Canary

GROWTH = math.log(1.05)
"""Width of a histogram's bucket: its quantiles are right to 5 %."""

MOST_TASKS = 64
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse a canary may be than the rest before it stops.

    `slower`: mean time per token, as a share. `tail`: how many times as often it may exceed the rest's p99. `errors`:
    how many times its error rate. Guard trips may be as frequent as the rest's. `confidence` is that of all four tests
    together, at whatever moment they are read.
    """

    slower: float = 0.02
    tail: float = 2.0
    errors: float = 1.25
    confidence: float = 0.95


TESTS = 4
TAIL = 0.99
LEAST = 5.0
"""Answers, n0·n1/(n0 + n1) over tasks, before means are compared: the sequence is an asymptotic one."""

TAIL_REQUESTS = 200
"""Requests of the rest from which its p99 means something."""


@dataclass(slots=True)
class ArmSums:
    """One side's sums: by task n, Σy, Σy², Σt with t the seconds per token and y = log t; and a histogram of t."""

    requests: int = 0
    errors: int = 0
    trips: int = 0
    tasks: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    times: Counter[int] = field(default_factory=Counter)

    def timed(self, task: str, tpot_s: float) -> None:
        """One answer told its time per token."""
        y = math.log(tpot_s)
        self._sum(task, (1.0, y, y * y, tpot_s))
        self.times[math.floor(y / GROWTH)] += 1

    def merge(self, other: "ArmSums") -> None:
        """Take another router's."""
        self.requests += other.requests
        self.errors += other.errors
        self.trips += other.trips
        for task, sums in other.tasks.items():
            self._sum(task, sums)
        self.times.update(other.times)

    def _sum(self, task: str, more: Sequence[float]) -> None:
        if task not in self.tasks and len(self.tasks) >= MOST_TASKS:
            task = OTHERS
        n, y, yy, t = self.tasks.get(task, (0.0, 0.0, 0.0, 0.0))
        self.tasks[task] = (n + more[0], y + more[1], yy + more[2], t + more[3])

    @property
    def measured(self) -> int:
        """Answers that told their time."""
        return self.times.total()

    def quantile(self, share: float) -> int:
        """The bucket below or in which this share of the times lies."""
        left = share * self.measured
        for bucket in sorted(self.times):
            left -= self.times[bucket]
            if left <= 0:
                return bucket
        return 0

    def above(self, bucket: int) -> int:
        """Times in higher buckets."""
        return sum(count for at, count in self.times.items() if at > bucket)

    def arm(self) -> Arm:
        """The sums as figures for people."""
        n, t = self.measured, sum(sums[3] for sums in self.tasks.values())
        p99_ms = math.exp((self.quantile(TAIL) + 1) * GROWTH) * 1e3 if n else 0.0
        return Arm(self.requests, n, self.errors, self.trips, t / n * 1e3 if n else 0.0, p99_ms)


def merged(arms: Iterable[ArmSums]) -> ArmSums:
    """The sums of all routers."""
    total = ArmSums()
    for arm in arms:
        total.merge(arm)
    return total


def judged(rest: ArmSums, canary: ArmSums, limits: Limits) -> Canary:
    """Both sides, how much slower the canary is, and its fault where it has one."""
    alpha = (1 - limits.confidence) / TESTS
    found = Canary(rest.arm(), canary.arm())
    slower = _difference(rest.tasks, canary.tasks, alpha)
    if slower is not None:
        mean, low, high = (math.expm1(min(bound, 50.0)) for bound in slower)
        found = replace(found, slower=mean, low=low, high=high)
    return replace(found, fault=_fault(rest, canary, found, limits, alpha))


def _fault(rest: ArmSums, canary: ArmSums, found: Canary, limits: Limits, alpha: float) -> str | None:
    """The first thing that speaks against it beyond doubt, in a sentence."""
    shares = found.canary, found.rest
    odds = canary.requests / max(1, rest.requests)
    if beyond(canary.errors, rest.errors, odds * limits.errors, alpha):
        ours, theirs = (f"{arm.errors} of {arm.requests}" for arm in shares)
        return f"error rate: {ours} requests failed, {theirs} of the rest"
    if beyond(canary.trips, rest.trips, odds, alpha):
        return f"guard: it tripped {canary.trips} times, {rest.trips} times for the rest"
    if found.low > limits.slower:
        return (
            f"time per token: {found.slower:.1%} slower than the rest (at least {found.low:.1%}), "
            f"{found.canary.ms_per_token:.2f} ms against {found.rest.ms_per_token:.2f} ms"
        )
    if rest.measured >= TAIL_REQUESTS and canary.measured:
        edge = rest.quantile(TAIL)
        odds = canary.measured / rest.measured
        if beyond(canary.above(edge), rest.above(edge), odds * limits.tail, alpha):
            ours, theirs = (f"{arm.p99_ms_per_token:.2f} ms" for arm in shares)
            return f"p99 of the time per token: {ours}, {theirs} of the rest"
    return None


Tasks = Mapping[str, tuple[float, float, float, float]]


def _difference(rest: Tasks, canary: Tasks, alpha: float) -> tuple[float, float, float] | None:
    """Mean difference of y and its bounds, task by task with weights n0·n1/(n0 + n1); None for few answers.

    An asymptotic confidence sequence (Waudby-Smith et al. 2021): it may be read after every request.
    """
    weight = mean = variance = 0.0
    for task, (n1, y1, yy1, _) in canary.items():
        n0, y0, yy0, _ = rest.get(task, (0.0, 0.0, 0.0, 0.0))
        if n0 < 2 or n1 < 2:
            continue
        w = n0 * n1 / (n0 + n1)
        weight += w
        mean += w * (y1 / n1 - y0 / n0)
        variance += w * w * (_variance(n0, y0, yy0) / n0 + _variance(n1, y1, yy1) / n1)
    if weight < LEAST:
        return None
    mean, deviation = mean / weight, math.sqrt(variance / weight)
    wide = radius(weight, deviation, 1 - alpha)
    return mean, mean - wide, mean + wide


def _variance(n: float, y: float, yy: float) -> float:
    """Of few answers it is not believed to be small: one of each side's is taken to have been ±20 % off."""
    return max(0.0, yy / n - (y / n) ** 2) + 0.04 / n


POINTS = 200


def beyond(ours: int, theirs: int, odds: float, alpha: float) -> bool:
    """Whether events fall to us more often than their odds allow, at whatever moment it is asked.

    Each event is ours with probability p ≤ p0 = odds / (1 + odds) if we are no worse. The likelihood ratio of a uniform
    mixture over p > p0 against p0 is a supermartingale, so it exceeds 1/α with probability α at most (Ville).
    """
    if ours == 0 or odds <= 0:
        return False
    p0 = odds / (1 + odds)
    if ours <= p0 * (ours + theirs):
        return False
    logs = []
    for at in range(POINTS):
        p = p0 + (1 - p0) * (at + 0.5) / POINTS
        logs.append(ours * math.log(p / p0) + theirs * math.log((1 - p) / (1 - p0)))
    top = max(logs)
    evidence = top + math.log(sum(math.exp(log - top) for log in logs) / POINTS)
    return evidence > -math.log(alpha)
