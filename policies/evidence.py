"""From one finished request to a change of its acceptance record."""

from collections.abc import Sequence
from dataclasses import dataclass

from policies.outcome import Outcome
from policies.quick import quick

HALF_LIFE_STEPS = 600.0
HALF_LIFE_S = 6 * 3600.0


@quick
@dataclass(frozen=True, slots=True)
class Counts:
    """Successes and exposures per position of one request, its drafting steps and all its verify steps.

    A step that drafted k and accepted j exposes positions 1 … min(j+1, k): what was never verified is censored, not
    failed.
    """

    s: tuple[float, ...]
    e: tuple[float, ...]
    drafting_steps: float
    steps: float


@quick
@dataclass(frozen=True, slots=True)
class Ignored:
    """Evidence that is not used, and the reason that is counted."""

    reason: str


def counts(drafted: Sequence[int], accepted: Sequence[int], output_tokens: int, k_max: int) -> Counts | Ignored:
    """Count the verify steps of one request; `Ignored` where they cannot be true of a drafter with this k_max."""
    if len(drafted) != len(accepted):
        return Ignored("steps_mismatch")
    if not all(0 <= j <= k for k, j in zip(drafted, accepted, strict=True)):
        return Ignored("steps_impossible")
    if max(drafted, default=0) > k_max:
        return Ignored("k_changed")
    s, e = [0.0] * k_max, [0.0] * k_max
    for k, j in zip(drafted, accepted, strict=True):
        for i in range(j):
            s[i] += 1
            e[i] += 1
        if j < k:
            e[j] += 1
    drafting = sum(1 for k in drafted if k > 0)
    # The first token comes from the prefill; each later token was accepted or ends a verify step.
    steps = max(drafting, output_tokens - 1 - sum(accepted))
    return Counts(tuple(s), tuple(e), float(drafting), float(steps))


def outcome_counts(outcome: Outcome, k_max: int) -> Counts | Ignored:
    """The counts of an outcome; `Ignored` where it was aborted, did not speculate or is impossible.

    An n-gram drafter may find nothing to propose in a whole answer: that is coverage 0.
    """
    if not outcome.finished:
        return Ignored("aborted")
    if outcome.choice.k == 0:
        return Ignored("not_speculative")
    if outcome.output_tokens < 0:
        return Ignored("negative")
    return counts(outcome.drafted, outcome.accepted, outcome.output_tokens, k_max)


def acceptance_fields(found: Counts, h: Sequence[float], weight: Sequence[float]) -> dict[str, float]:
    """The sums one request adds to its record; `h` is what was believed before it, with `weight` exposures behind it.

    `vv` holds the squared residual per request, `vb` the variance that it would have were drafts independent
    (binomial, and
    that of the belief itself), `ee` the squared exposures: from the three follows how alike the drafts of one request
    are.
    """
    fields = {"n": 1.0, "qn": found.drafting_steps, "qd": found.steps}
    surplus = variance = 0.0
    for i, (s, e) in enumerate(zip(found.s, found.e, strict=True)):
        if e:
            fields[f"s{i + 1}"], fields[f"e{i + 1}"] = s, e
            surplus += s - e * h[i]
            variance += e * h[i] * (1 - h[i]) * (1 + e / weight[i])
    return fields | {"vv": surplus**2, "vb": variance, "ee": sum(found.e) ** 2}
