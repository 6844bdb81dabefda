"""Acceptance as it is told to people: shares with intervals, from one record of decayed sums."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from policies.estimator import DESIGN_PRIOR, DESIGN_WEIGHT, design_effect
from policies.keys import Key, decode_key
from policies.records import Record

Z = 1.645
"""Normal quantile of the intervals: 90 % of them hold the truth."""

MOST_POSITIONS = 32

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One acceptance record: `alpha` is accepted / exposed drafts, `survival[i]` = P(first i+1 drafts hold).

    `drafts` and `requests` are decayed counts. The intervals hold 90 %, widened by how alike one request's drafts are.
    """

    drafter: str
    target: str
    task: str
    segment: str
    temperature: str
    shape: str
    alpha: float
    alpha_interval: Interval
    survival: tuple[float, ...]
    survival_intervals: tuple[Interval, ...]
    drafts: float
    requests: float
    at_s: float


def beliefs(records: Mapping[str, Record]) -> dict[str, Acceptance]:
    """Every acceptance record in which a draft was seen, by its name."""
    return {
        name: _belief(decode_key(name), record)
        for name, record in records.items()
        if name.startswith("acc:") and record.fields.get("e1", 0.0) >= 1
    }


def _belief(key: Key, record: Record) -> Acceptance:
    fields = record.fields
    positions = [i for i in range(1, MOST_POSITIONS + 1) if fields.get(f"e{i}", 0.0) >= 1]
    exposed = [fields[f"e{i}"] for i in positions]
    held = [min(fields.get(f"s{i}", 0.0), e) for i, e in zip(positions, exposed, strict=True)]
    design = design_effect(fields, DESIGN_PRIOR, DESIGN_WEIGHT)
    survival, intervals = _survival(held, exposed, design)
    total = sum(exposed)
    alpha = sum(held) / total
    return Acceptance(
        drafter=key.drafter,
        target=key.target,
        task=key.task,
        segment=key.segment,
        temperature=key.bucket,
        shape=key.shape,
        alpha=alpha,
        alpha_interval=wilson(alpha, total / design),
        survival=survival,
        survival_intervals=intervals,
        drafts=total,
        requests=fields.get("n", 0.0),
        at_s=record.at_s,
    )


def wilson(share: float, n: float) -> Interval:
    """Wilson's score interval of a share seen in n trials (Wilson 1927)."""
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _survival(held: list[float], exposed: list[float], design: float) -> tuple[tuple[float, ...], tuple[Interval, ...]]:
    """S(i) = Π h_j, and its interval on the log scale by the delta method: var log S = Σ (1 − h_j) / (h_j n_j)."""
    survival, intervals, s, variance = [], [], 1.0, 0.0
    for one, n in zip(held, exposed, strict=True):
        h = (one + 0.5) / (n + 1)  # a share of 0 or 1 has a variance too
        s, variance = s * one / n, variance + (1 - h) / (h * n / design)
        width = math.exp(Z * math.sqrt(variance))
        survival.append(s)
        intervals.append((s / width, min(1.0, s * width)))
    return tuple(survival), tuple(intervals)
