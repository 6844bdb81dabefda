"""What the keys of one drafter say of each other: sums per task, and how far the drafter is off its priors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from policies.estimator import DESIGN_PRIOR, DESIGN_PRIOR_WEIGHT, KAPPA, coverage_of, design_effect, moment_kappa
from policies.evidence import HALF_LIFE_S
from policies.formulas import expit, logit
from policies.keys import Key
from policies.records import EMPTY, Record

LONG = 16.0
"""Half-lives after which sums are formed anew: what they hold grows by as many powers of two in comparison."""

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

    `design` is the usual variance inflation of the drafter's requests, `covered` their coverage.
    """

    offsets: Mapping[str, tuple[float, float]]
    total: float
    credit: float
    kappa: float
    design: float
    covered: float = 1.0

    def unsure(self, task: str) -> float:
        """The deviation left in `without`, in log-odds: what the other tasks tell takes from `APART`."""
        return APART / math.sqrt(1 + self.credit - self.offsets.get(task, (0.0, 0.0))[1])

    def without(self, task: str) -> float:
        """The mean offset of the other tasks, shrunk as by one task that fits its prior exactly."""
        offset, credit = self.offsets.get(task, (0.0, 0.0))
        return (self.total - offset) / (1 + self.credit - credit)


@dataclass(slots=True)
class Family:
    """All acceptance records of one target and drafter, summed by task.

    Records are as of when they were last taught, sums all as of `as_of_s`: a part that is older counts less, a younger
    one more. So one factor tells what a sum is worth now, however many records of whatever age are in it.
    """

    as_of_s: float = 0.0
    built_s: float = -1.0
    built_e: float = 0.0
    shift: Shift = field(default_factory=lambda: Shift({}, 0.0, 0.0, KAPPA, DESIGN_PRIOR))
    _records: dict[Key, Record] = field(default_factory=dict)
    _sums: dict[str, dict[str, float]] = field(default_factory=dict)
    _seen_e: float = 0.0

    def replace(self, key: Key, new: Record) -> None:
        """Take one record's change into the sums of its task."""
        old = self._records.pop(key, EMPTY)
        if new.fields:
            self._records[key] = new
        self._change(key.task, old, new)
        if not self._records:  # what rounding leaves is no evidence
            self._sums.clear()
            self._seen_e = 0.0

    def _change(self, task: str, old: Record, new: Record) -> None:
        sums, before, after = self._sums.setdefault(task, {}), self._worth(old), self._worth(new)
        for name in {*old.fields, *new.fields}:
            if name[0] in "seqvn":
                change = new.fields.get(name, 0.0) * after - old.fields.get(name, 0.0) * before
                sums[name] = max(0.0, sums.get(name, 0.0) + change)
                if name == "e1":
                    self._seen_e = max(0.0, self._seen_e + change)

    def _worth(self, record: Record) -> float:
        """What a record counts for in sums as of `as_of_s`; one without a time counts in full."""
        return math.exp2(min((record.at_s - self.as_of_s) / HALF_LIFE_S, LONG)) if record.at_s else 1.0

    def _keep(self, now_s: float) -> float:
        """What sums are worth now.

        They are formed anew after `LONG`, and where a clock ran ahead and was set back: what it had aged so much is
        not to be had from them any more.
        """
        if not 0 <= now_s - self.as_of_s <= LONG * HALF_LIFE_S:
            self.as_of_s, self._seen_e = now_s, 0.0
            self._sums.clear()
            for key, record in self._records.items():
                self._change(key.task, EMPTY, record)
        return math.exp2((self.as_of_s - now_s) / HALF_LIFE_S)

    def evidence(self, now_s: float) -> float:
        """First drafts seen, what is left of them now."""
        return self._keep(now_s) * self._seen_e

    def of_task(self, task: str, now_s: float) -> dict[str, float]:
        """The sums of a task, what is left of them now."""
        keep = self._keep(now_s)
        return {name: keep * value for name, value in self._sums.get(task, {}).items()}

    def of_all(self, now_s: float) -> dict[str, float]:
        """The sums of all tasks together, what is left of them now."""
        keep, pooled = self._keep(now_s), dict[str, float]()
        for sums in self._sums.values():
            for name, value in sums.items():
                pooled[name] = pooled.get(name, 0.0) + keep * value
        return pooled

    def others(self, task: str, own: Record, k_max: int, now_s: float) -> dict[str, float]:
        """The sums of a task without one record's own evidence: its other segments, buckets and shapes."""
        keep = self._keep(now_s)
        sums, worth = self._sums.get(task), self._worth(own)
        if not sums:
            return {}
        rest = {name: keep * max(0.0, value - worth * own.fields.get(name, 0.0)) for name, value in sums.items()}
        for i in range(1, k_max + 1):
            rest[f"s{i}"] = min(rest.get(f"s{i}", 0.0), rest.get(f"e{i}", 0.0))
        return rest

    def renew(self) -> None:
        """Work out the drafter's shift anew when it is next asked for: its tasks' priors are others now."""
        self.built_s = math.inf

    def moved(self, now_s: float, prior: Prior) -> Shift:
        """The drafter's shift: the same object until its evidence has changed by `GROWN`, or `STALE_S` have passed."""
        grown = abs(self._seen_e - self.built_e) > GROWN * self.built_e
        if grown or not 0 <= now_s - self.built_s < STALE_S:
            self.shift, self.built_s = self._shift(prior, now_s), now_s
            self.built_e = self._seen_e
        return self.shift

    def _shift(self, prior: Prior, now_s: float) -> Shift:
        offsets: dict[str, tuple[float, float]] = {}
        means, priors, exposures = [], [], []
        keep = self._keep(now_s)
        for task, sums in self._sums.items():
            e, p = keep * sums.get("e1", 0.0), prior(task)
            if e < 1:
                continue
            credit, h = e / (e + KAPPA), (keep * sums.get("s1", 0.0) + KAPPA * p) / (e + KAPPA)
            offsets[task] = (credit * (logit(h) - logit(p)), credit)
            if e > 3 * KAPPA:
                means.append(h)
                priors.append(p)
                exposures.append(e)
        total, credit = sum(o for o, _ in offsets.values()), sum(c for _, c in offsets.values())
        moved = [expit(logit(p) + total / (1 + credit)) for p in priors]
        pooled = {
            name: keep * sum(sums.get(name, 0.0) for sums in self._sums.values())
            for name in ("n", "vv", "vb", "qn", "qd")
        }
        design = design_effect(pooled, DESIGN_PRIOR, DESIGN_PRIOR_WEIGHT)
        return Shift(offsets, total, credit, moment_kappa(means, moved, exposures), design, coverage_of(pooled))
