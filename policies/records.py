"""Shared state as records of decayed sums, and the one operation on them; the store's script must agree with `apply`.

Field names carry how they change: plain fields decay and add; `+name` adds without decay and never falls below 0 (a
CUSUM);
`^name` keeps the larger value (a time until which something holds).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.quick import quick

MAX_FIELDS = 96
"""Most fields of a record that is believed: successes and exposures of 32 drafts, and a dozen more."""


@quick
@dataclass(frozen=True, slots=True)
class Record:
    """Decayed sums as of `at_s` (Unix seconds); `epoch` counts the times they were shrunk."""

    fields: Mapping[str, float] = field(default_factory=dict)
    at_s: float = 0.0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Shrink:
    """Scale plain fields by `scale` and zero `+` fields, once: only where the record is still at `epoch`."""

    epoch: int
    scale: float


@quick
@dataclass(frozen=True, slots=True)
class Delta:
    """A change to one record: decay by `steps` and by elapsed time, shrink, then add; half-lives of 0 mean no decay.

    `+` fields count only where the record is still at `epoch`, or where this delta's own shrink takes effect: sums
    towards an alarm that another router has raised meanwhile are about what it has made all forget.
    """

    key: str
    add: Mapping[str, float]
    steps: float = 0.0
    half_life_steps: float = 0.0
    half_life_s: float = 0.0
    shrink: Shrink | None = None
    epoch: int | None = None

    def late(self, epoch: int) -> bool:
        """Whether its `+` fields come too late for a record at that epoch."""
        formed = self.epoch if self.shrink is None else self.shrink.epoch
        return formed is not None and formed != epoch


EMPTY = Record()


def decay(amount: float, half_life: float) -> float:
    """2^(−amount / half_life); 1 where the half-life is 0 or the amount is negative (a clock that jumped back)."""
    return 2.0 ** (-amount / half_life) if half_life > 0 and amount > 0 else 1.0


def apply(record: Record, delta: Delta, now_s: float) -> Record:
    """The record after the delta: `r·2^(−steps/h)·2^(−Δt/h_s)·scale + add`, by field kind; time never runs back."""
    elapsed_s = now_s - record.at_s if record.at_s else 0.0
    keep = decay(delta.steps, delta.half_life_steps) * decay(elapsed_s, delta.half_life_s)
    shrunk = delta.shrink is not None and delta.shrink.epoch == record.epoch
    if shrunk and delta.shrink is not None:
        keep *= delta.shrink.scale
    fields = _kept(record.fields, keep, shrunk)
    late = delta.late(record.epoch)
    for name, value in delta.add.items():
        if not (late and name[0] == "+"):
            fields[name] = _added(name, fields.get(name), value)
    return Record(fields, max(record.at_s, now_s), record.epoch + shrunk)


def _kept(fields: Mapping[str, float], keep: float, shrunk: bool) -> dict[str, float]:
    """What is left of fields; in one expression, for this is most of what an answer costs the router."""
    zeroed = 0.0 if shrunk else 1.0
    return {
        name: value * keep if name[0] not in "+^" else value * zeroed if name[0] == "+" else value
        for name, value in fields.items()
    }


def _added(name: str, old: float | None, value: float) -> float:
    if old is None:
        return max(0.0, value) if name[0] == "+" else value
    if name[0] == "^":
        return max(old, value)
    return max(0.0, old + value) if name[0] == "+" else old + value


def merge(first: Delta, second: Delta) -> Delta | None:
    """One delta with the effect of both in turn at one moment; None where they must stay apart (a shrink, another
    epoch, another key)."""
    if first.shrink is not None or second.shrink is not None or _kind(first) != _kind(second):
        return None
    keep = decay(second.steps, second.half_life_steps)
    add = _kept(first.add, keep, False)
    for name, value in second.add.items():
        # A merged CUSUM may be negative until the store floors it: flooring here would forget that it fell.
        joined = name[0] == "+" and name in add
        add[name] = add[name] + value if joined else _added(name, add.get(name), value) if name in add else value
    steps = first.steps + second.steps
    return Delta(first.key, add, steps, first.half_life_steps, first.half_life_s, epoch=first.epoch)


def _kind(delta: Delta) -> tuple[str, float, float, int | None]:
    return (delta.key, delta.half_life_steps, delta.half_life_s, delta.epoch)


AHEAD_S = 60.0
"""How far another router's clock may be ahead of ours for what it wrote to be believed."""


def flaw(record: Record, now_s: float) -> str | None:
    """Why a record read from a store must not be used; None where it may.

    Reasons: `future` (over a minute ahead of our clock), `fields` (too many), `value` (not finite, or negative).
    """
    if not math.isfinite(record.at_s) or record.at_s > now_s + AHEAD_S:
        return "future"
    if len(record.fields) > MAX_FIELDS:
        return "fields"
    signed = record.fields.items()
    return "value" if any(not math.isfinite(v) or (v < 0 and not n.startswith("y")) for n, v in signed) else None
