"""What the keys of one drafter say of each other: sums per task, and how far the drafter is off its priors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from policies.estimator import (
    DESIGN_PRIOR,
    DESIGN_PRIOR_WEIGHT,
    KAPPA,
    Positions,
    design_effect,
    moment_kappa,
    positions,
)
from policies.formulas import expit, logit
from policies.keys import Key
from policies.records import EMPTY, Record

STALE_S = 5.0
GROWN = 0.1
"""Share by which a drafter's evidence changes before what its tasks say of each other is worked out anew: at a cold
start that is at nearly every answer, later almost never."""

APART = 1.0
"""Deviation, in log-odds, between drafters of one task: acceptance of public drafters spans .55–.92."""

Prior = Callable[[str], float]
"""First-position prior of a task."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Credit-weighted log-odds by which a drafter's tasks differ from their priors, per task, and κ between them.

    `design` is the usual variance inflation of the drafter's requests.
    """

    offsets: Mapping[str, tuple[float, float]]
    total: float
    credit: float
    kappa: float
    design: float

    def unsure(self, task: str) -> float:
        """The deviation left in `without`, in log-odds: what the other tasks tell takes from `APART`."""
        return APART / math.sqrt(1 + self.credit - self.offsets.get(task, (0.0, 0.0))[1])

    def without(self, task: str) -> float:
        """The mean offset of the other tasks, shrunk as by one task that fits its prior exactly."""
        offset, credit = self.offsets.get(task, (0.0, 0.0))
        return (self.total - offset) / (1 + self.credit - credit)


@dataclass(slots=True)
class Family:
    """All acceptance records of one target and drafter, summed by task."""

    tasks: dict[str, dict[str, float]] = field(default_factory=dict)
    built_s: float = -1.0
    built_e: float = 0.0
    seen_e: float = 0.0
    shift: Shift = field(default_factory=lambda: Shift({}, 0.0, 0.0, KAPPA, DESIGN_PRIOR))

    def replace(self, key: Key, old: Record, new: Record) -> None:
        """Take one record's change into the sums of its task."""
        sums = self.tasks.setdefault(key.task, {})
        for name in {*old.fields, *new.fields}:
            if name[0] in "seqvn":
                change = new.fields.get(name, 0.0) - old.fields.get(name, 0.0)
                sums[name] = max(0.0, sums.get(name, 0.0) + change)
                if name == "e1":
                    self.seen_e += change

    def others(self, task: str, own: Mapping[str, float], k_max: int) -> Positions:
        """Positions of a task without one record's own evidence: its other segments, buckets and shapes."""
        sums = self.tasks.get(task)
        if not sums:
            return positions(EMPTY.fields, k_max)
        rest = {name: max(0.0, value - own.get(name, 0.0)) for name, value in sums.items()}
        for i in range(1, k_max + 1):
            rest[f"s{i}"] = min(rest.get(f"s{i}", 0.0), rest.get(f"e{i}", 0.0))
        return positions(rest, k_max)

    def renew(self) -> None:
        """Work out the drafter's shift anew when it is next asked for: its tasks' priors are others now."""
        self.built_s = math.inf

    def moved(self, now_s: float, prior: Prior) -> Shift:
        """The drafter's shift: the same object until its evidence has changed by `GROWN`, or `STALE_S` have passed."""
        grown = abs(self.seen_e - self.built_e) > GROWN * self.built_e
        if grown or not 0 <= now_s - self.built_s < STALE_S:
            self.shift, self.built_s, self.built_e = self._shift(prior), now_s, self.seen_e
        return self.shift

    def _shift(self, prior: Prior) -> Shift:
        offsets: dict[str, tuple[float, float]] = {}
        means, priors, exposures = [], [], []
        for task, sums in self.tasks.items():
            e, p = sums.get("e1", 0.0), prior(task)
            if e < 1:
                continue
            credit, h = e / (e + KAPPA), (sums.get("s1", 0.0) + KAPPA * p) / (e + KAPPA)
            offsets[task] = (credit * (logit(h) - logit(p)), credit)
            if e > 3 * KAPPA:
                means.append(h)
                priors.append(p)
                exposures.append(e)
        total, credit = sum(o for o, _ in offsets.values()), sum(c for _, c in offsets.values())
        moved = [expit(logit(p) + total / (1 + credit)) for p in priors]
        pooled = {name: sum(sums.get(name, 0.0) for sums in self.tasks.values()) for name in ("n", "vv", "vb")}
        design = design_effect(pooled, DESIGN_PRIOR, DESIGN_PRIOR_WEIGHT)
        return Shift(offsets, total, credit, moment_kappa(means, moved, exposures), design)
