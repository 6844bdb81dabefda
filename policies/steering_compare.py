"""One policy against another over the same decisions: pairs, and what they say with their intervals."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from policies.steering_reports import Comparison

RESAMPLES = 400
NORMAL_95 = 1.96

Counts = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One request as two policies decide it; times per token in seconds as predicted by one and the same model."""

    task: str
    pool: str
    k: int
    tpot_s: float
    other_pool: str
    other_k: int
    other_tpot_s: float


def compared(task: str, pairs: Sequence[Pair], pause: Callable[[], None] = lambda: None) -> Comparison:
    """The comparison of some pairs, its interval by the percentile bootstrap over decisions (Efron 1979)."""
    sums = PairSums()
    for pair in pairs:
        sums.add(pair)
    found, ratios = sums.comparison(task), sorted(_resampled(pairs, pause))
    if not ratios:
        return found
    low, high = ratios[int(0.025 * len(ratios))], ratios[min(len(ratios) - 1, int(0.975 * len(ratios)))]
    return _bounded(found, low, high)


def _resampled(pairs: Sequence[Pair], pause: Callable[[], None]) -> Iterable[float]:
    times, draws = [(pair.tpot_s, pair.other_tpot_s) for pair in pairs], random.Random(len(pairs))
    if all(now == then for now, then in times):
        return
    for _ in range(RESAMPLES):
        drawn = draws.choices(times, k=len(times))
        before = sum([now for now, _ in drawn])
        if before > 0:
            yield sum([then for _, then in drawn]) / before
        pause()


def _bounded(found: Comparison, low: float, high: float) -> Comparison:
    return Comparison(
        found.task,
        found.decisions,
        found.pool_changed,
        found.k_changed,
        found.mean_k,
        found.ms_per_token,
        found.ratio,
        low,
        high,
    )


@dataclass(slots=True)
class PairSums:
    """Sums over pairs, which add up over routers: n, changed pools and k, both k, both times, squares and product."""

    n: float = 0.0
    pools: float = 0.0
    ks: float = 0.0
    k: float = 0.0
    other_k: float = 0.0
    a: float = 0.0
    b: float = 0.0
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0

    def add(self, pair: Pair) -> None:
        """Take one pair."""
        now, then = pair.tpot_s, pair.other_tpot_s
        self.n += 1
        self.pools += pair.pool != pair.other_pool
        self.ks += pair.k != pair.other_k
        self.k += pair.k
        self.other_k += pair.other_k
        self.a += now
        self.b += then
        self.aa += now * now
        self.bb += then * then
        self.ab += now * then

    def row(self) -> tuple[float, ...]:
        """The sums in order, for the store."""
        return (self.n, self.pools, self.ks, self.k, self.other_k, self.a, self.b, self.aa, self.bb, self.ab)

    def merge(self, row: Sequence[float]) -> Self:
        """Take another router's."""
        for name, value in zip(self.__slots__, row, strict=True):
            setattr(self, name, getattr(self, name) + value)
        return self

    def comparison(self, task: str) -> Comparison:
        """What the sums say; the interval of the ratio of two means by the delta method."""
        n = self.n
        if n == 0 or self.a <= 0:
            return Comparison(task, int(n))
        ratio = self.b / self.a
        spread = max(0.0, self.bb - 2 * ratio * self.ab + ratio * ratio * self.aa) / n
        radius = NORMAL_95 * math.sqrt(spread / n) / (self.a / n)
        return Comparison(
            task,
            int(n),
            self.pools / n,
            self.ks / n,
            (self.k / n, self.other_k / n),
            (self.a / n * 1e3, self.b / n * 1e3),
            ratio,
            ratio - radius,
            ratio + radius,
        )


@dataclass(slots=True)
class Moves:
    """Decisions counted by pool and by k, (now, then)."""

    now: Counter[str] = field(default_factory=Counter)
    then: Counter[str] = field(default_factory=Counter)

    def pairs(self) -> dict[str, tuple[int, int]]:
        """Both counts of each name."""
        return {name: (self.now[name], self.then[name]) for name in sorted({*self.now, *self.then})}


def counted(pairs: Iterable[Pair]) -> tuple[dict[str, tuple[int, int]], dict[int, tuple[int, int]]]:
    """Decisions by pool and by k, (now, then)."""
    pools, ks = Moves(), Moves()
    for pair in pairs:
        pools.now[pair.pool] += 1
        pools.then[pair.other_pool] += 1
        ks.now[f"{pair.k:02}"] += 1
        ks.then[f"{pair.other_k:02}"] += 1
    return pools.pairs(), {int(k): both for k, both in ks.pairs().items()}
