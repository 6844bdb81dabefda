"""Noticing that acceptance or a replica changed: two-sided CUSUMs on standardised residuals, and what an alarm does."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from policies.estimator import Curve
from policies.event import Event
from policies.evidence import Counts
from policies.inheritance import WATCHED_EXPOSURES, Pair, what_changed
from policies.keys import Key
from policies.mechanisms import Drift
from policies.records import Delta, Record, Shrink

LIMIT = 3.0
"""One request never counts for more standard errors than this."""

HEAVY = 1.25
"""Long answers of unusual prompts spread wider than their mean variance says (residuals had a deviation of 1.2
without this)."""

COST_UNIT = 0.15
KEEP_ROWS = 0.5
"""Rows that a replica's old step times are still worth after it changed."""

SURE_ROWS = 10.0
"""Evidence from which on a step model may be contradicted."""

DRIFT = "drift:"
"""How the keys of the records begin that hold when each task of a drafter last drifted."""

ANNOUNCED = "announced"
"""Name among the tasks of such a record: when the drafter was last announced as stale."""


def residual(found: Counts, believed: Curve, beside: float = 0.0) -> float:
    """Standardised residual of a request's accepted drafts, positive when acceptance rose, within ±`LIMIT`.

    Every position counts (the first alone needs half as many requests again to notice a collapse). The variance is
    the binomial one, more for drafts of one request are alike (streaks, prompts that differ), plus that of the belief.
    `beside` other answers are held against the same belief before its routers hear of each other: they share its
    error, so that the sum over 1 + m answers has (1 + m)² of its variance, and each is told m + 1 times of it.
    """
    surplus = variance = belief = 0.0
    for s, e, h, weight in zip(found.s, found.e, believed.h, believed.weight, strict=False):
        surplus += s - e * h
        variance += e * h * (1 - h)
        belief += e * h * (1 - h) * e * (1 + beside) / weight
    design = 1 + max(0.0, sum(found.e) - 1) * believed.alike
    z = surplus / math.sqrt(max(HEAVY * variance * design + belief, 1e-9))
    return max(-LIMIT, min(LIMIT, z))


def cusum_fields(z: float, rules: Drift) -> dict[str, float]:
    """What a residual adds to both sums; the store floors them at 0."""
    return {"+up": z - rules.slack, "+down": -z - rules.slack}


def alarmed(record: Record, added: Mapping[str, float], rules: Drift) -> bool:
    """True where either sum passes the alarm with what is about to be added."""
    return any(max(0.0, record.fields.get(name, 0.0) + added[name]) > rules.alarm for name in ("+up", "+down"))


def forget(key: str, record: Record, rules: Drift) -> Delta:
    """Shrink the record to `keep` exposures (once, however many routers notice) and grant probes."""
    exposures = record.fields.get("e1", 0.0)
    scale = min(1.0, rules.keep / exposures) if exposures > 0 else 1.0
    return Delta(key, {"+boost": float(rules.probes)}, shrink=Shrink(record.epoch, scale))


def drift_event(key: Key, epoch: int, before: float, found: Counts, now_s: float) -> Event:
    """The event of one alarm, with the acceptance believed and the one just seen: one per epoch of the record."""
    seen = found.s[0] / found.e[0] if found.e[0] else math.nan
    subject = f"{key.drafter}/{key.task}/{key.segment}/{key.bucket}"
    detail = f"first-position acceptance was {before:.2f}, the last request had {seen:.2f}"
    return Event("drift", subject, now_s, detail, f"{key.encode()}@{epoch}")


def drafter_key(key: Key) -> str:
    """The record of when each task of a drafter last drifted."""
    return f"{DRIFT}{key.target}|{key.drafter}"


def stale(key: Key, record: Record, rules: Drift, now_s: float) -> Event | None:
    """The event of a drafter of which several tasks drift together (it no longer fits its target); once per period.

    It says since when, which tasks, and what collects a set to distil a new drafter from.
    """
    since, said = now_s - rules.stale_within_s, f"^{ANNOUNCED}"
    times = {name[1:]: at for name, at in record.fields.items() if at > since}
    tasks = sorted({*times, key.task} - {ANNOUNCED})
    if len(tasks) < rules.stale_tasks or ANNOUNCED in times:
        return None
    first = datetime.fromtimestamp(min(times.values(), default=now_s), UTC).strftime("%Y-%m-%d %H:%M UTC")
    detail = (
        f"{len(tasks)} tasks drifted together since {first}: {', '.join(tasks)}; did its target change? Collect a "
        f"set to distil from: alpharoute distill collect --tasks {','.join(tasks)}"
    )
    return Event("drafter_stale", key.drafter, now_s, detail, f"{drafter_key(key)}@{record.fields.get(said, 0.0):.0f}")


def fallen(records: Mapping[str, Record], since_s: float) -> frozenset[str]:
    """The tasks that drifted after that time, whatever the drafter: what a distillation set should hold."""
    fields = (record.fields for key, record in records.items() if key.startswith(DRIFT))
    times = (item for each in fields for item in each.items())
    return frozenset(name[1:] for name, at in times if at >= since_s) - {ANNOUNCED}


def revision_event(key: Key, before: Pair, now_s: float) -> Event:
    """The event of a revision seen for the first time, whose acceptance is taken over with doubt."""
    detail = (
        f"{what_changed((key.target, key.drafter), before)}: acceptance starts from what was seen before, discounted, "
        f"and is watched until {WATCHED_EXPOSURES:.0f} drafts of each task were seen"
    )
    return Event("revision_changed", key.drafter, now_s, detail, drafter_key(key))


def drafter_delta(key: Key, announced: bool, now_s: float) -> Delta:
    """Note that a task of the drafter drifted, and whether the drafter was announced as stale."""
    said = {f"^{ANNOUNCED}": now_s} if announced else {}
    return Delta(drafter_key(key), {f"^{key.task}": now_s} | said)


def cost_residual(error: float, noise: float) -> float:
    """A relative step-time error in units that only a change of the replica reaches, within ±`LIMIT`."""
    return max(-LIMIT, min(LIMIT, error / max(COST_UNIT, 2 * noise)))


def slow_event(replica: str, epochs: Sequence[int], error: float, now_s: float) -> Event:
    """The event of a replica whose steps got longer than its model for good: one per epoch of its records."""
    detail = f"steps take {error:.0%} longer than before at the same batch"
    return Event("replica_slow", replica, now_s, detail, f"{replica}@{'.'.join(map(str, epochs))}")
