"""What trials add up: each router its own sums as one sheet, which together are those of all."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson
from pydantic import TypeAdapter

from policies.steering_compare import Pair, PairSums
from policies.steering_reports import Canary, Shadow
from policies.steering_trials import ArmSums, Limits, judged, merged

MOST_TASKS = 64
OTHERS = "(others)"


@dataclass(slots=True)
class CanarySums:
    """Both sides of a canary."""

    rest: ArmSums = field(default_factory=ArmSums)
    canary: ArmSums = field(default_factory=ArmSums)

    def sheet(self) -> bytes:
        """The sums as JSON."""
        return orjson.dumps(self, option=orjson.OPT_NON_STR_KEYS)


@dataclass(slots=True)
class ShadowSums:
    """What a shadow decided beside the active policy: rows of `PairSums` by task, decisions by pool and by k."""

    tasks: dict[str, tuple[float, ...]] = field(default_factory=dict)
    pools: Counter[str] = field(default_factory=Counter)
    other_pools: Counter[str] = field(default_factory=Counter)
    ks: Counter[int] = field(default_factory=Counter)
    other_ks: Counter[int] = field(default_factory=Counter)
    skipped: int = 0

    def add(self, pair: Pair) -> None:
        """Take one decision of both."""
        task = pair.task if pair.task in self.tasks or len(self.tasks) < MOST_TASKS else OTHERS
        sums = PairSums(*self.tasks.get(task, ()))
        sums.add(pair)
        self.tasks[task] = sums.row()
        self.pools[pair.pool] += 1
        self.other_pools[pair.other_pool] += 1
        self.ks[pair.k] += 1
        self.other_ks[pair.other_k] += 1

    def merge(self, other: "ShadowSums") -> None:
        """Take another router's."""
        for task, row in other.tasks.items():
            self.tasks[task] = PairSums(*self.tasks.get(task, ())).merge(row).row()
        self.pools.update(other.pools)
        self.other_pools.update(other.other_pools)
        self.ks.update(other.ks)
        self.other_ks.update(other.other_ks)
        self.skipped += other.skipped

    def sheet(self) -> bytes:
        """The sums as JSON."""
        return orjson.dumps(self, option=orjson.OPT_NON_STR_KEYS)


_CANARY, _SHADOW = TypeAdapter(CanarySums), TypeAdapter(ShadowSums)


def canary_of(sheets: Iterable[str | bytes], limits: Limits) -> Canary:
    """How a canary goes, by the sheets of all routers."""
    found = [_CANARY.validate_json(sheet) for sheet in sheets]
    return judged(merged(one.rest for one in found), merged(one.canary for one in found), limits)


def shadow_of(sheets: Iterable[str | bytes]) -> Shadow:
    """What a shadow decided, by the sheets of all routers."""
    total, everything = ShadowSums(), PairSums()
    for sheet in sheets:
        total.merge(_SHADOW.validate_json(sheet))
    for row in total.tasks.values():
        everything.merge(row)
    pools = {name: (total.pools[name], total.other_pools[name]) for name in sorted({*total.pools, *total.other_pools})}
    ks = {k: (total.ks[k], total.other_ks[k]) for k in sorted({*total.ks, *total.other_ks})}
    tasks = tuple(PairSums(*row).comparison(task) for task, row in sorted(total.tasks.items()))
    return Shadow(everything.comparison(""), tasks, pools, ks, total.skipped)
