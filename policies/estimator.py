"""What is believed of a drafter's acceptance: a posterior per position, shrunk towards its task, its drafter and the
prior."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import truediv

from policies.formulas import expit, logit
from policies.records import Record

KAPPA = 20.0
WITHIN = 80.0
"""Exposures that a task's other segments and temperatures are worth to one of them where they are known exactly: what
they have in common is more than what tasks have, and one odd answer must not outweigh all of theirs."""

CARRY, FADING = 60.0, 0.7
"""Drafts at one position say this much, in exposures, of the next one too, and by this share less of each beyond:
measured survival curves have conditional acceptances that differ little between neighbours."""

CAUTION = 1.0
"""Standard errors of the drafter as a whole by which decisions in company stay below the expected tokens per step:
where it is off its priors it is off for every task at once, and drafting too much harms everyone in the batch. A task's
own error is no reason to draft less: it is as often too low, and a task kept on vanilla for it never gets known."""

COVERED = 20.0
"""Verify steps that what is believed of the coverage beforehand is worth."""

KAPPA_MIN, KAPPA_MAX = 10.0, 60.0
DESIGN_PRIOR, DESIGN_PRIOR_WEIGHT, DESIGN_WEIGHT, USUAL_SIZE = 2.0, 3.0, 20.0, 60.0
"""Requests of one task differ and acceptance comes in streaks: believed variance inflation, worth this many
requests."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Success and exposure sums per position."""

    s: tuple[float, ...]
    e: tuple[float, ...]

    def mean(self, i: int, prior: float, kappa: float) -> float:
        """(s_i + κ·prior) / (e_i + κ), i from 0."""
        return (self.s[i] + kappa * prior) / (self.e[i] + kappa)


@dataclass(frozen=True, slots=True)
class Curve:
    """Acceptance of one key. `expected[k]` is E(k) for k = 0 … k_max and `spread[k]` its standard error.

    `inverse[k]` is 1/E(k), and `noise[k]` the relative error; `careful[k]` is 1/E(k) with caution for others' sake, for
    the drafter as a whole may be off its priors. `evidence` is e_1 after the design effect,
    `requests` the decayed number of
    requests seen, `design` the variance inflation, `weight` the exposures that each h is worth, prior included,
    `alike` the correlation of drafts within one request.
    """

    h: tuple[float, ...]
    e: tuple[float, ...]
    coverage: float
    expected: tuple[float, ...]
    inverse: tuple[float, ...]
    careful: tuple[float, ...]
    spread: tuple[float, ...]
    noise: tuple[float, ...]
    evidence: float
    requests: float
    design: float
    weight: tuple[float, ...]
    alike: float

    def interval(self, i: int, z: float = 1.645) -> tuple[float, float]:
        """Interval of h_(i+1) with normal quantile z, on the logit scale (so that it stays inside 0–1)."""
        h, n = self.h[i], self.weight[i]
        centre, half = logit(h), z / math.sqrt(max(n * h * (1 - h), 1e-9))
        return expit(centre - half), expit(centre + half)


NOTHING = Positions((), ())


def positions(fields: Mapping[str, float], k_max: int, keep: float = 1.0) -> Positions:
    """Read s_i and e_i for i ≤ k_max; impossible pairs (s > e, negative, not finite) count as no evidence."""
    s, e = [0.0] * k_max, [0.0] * k_max
    for i in range(k_max):
        success, exposure = fields.get(f"s{i + 1}", 0.0), fields.get(f"e{i + 1}", 0.0)
        if 0 <= success <= exposure * (1 + 1e-9) < math.inf:
            s[i], e[i] = min(success, exposure) * keep, exposure * keep
    return Positions(tuple(s), tuple(e))


def carried(prior: Sequence[float], seen: Positions, lookup: bool, kappas: Sequence[float]) -> tuple[float, ...]:
    """Posterior means of every position, each prior moved by what the position before it taught.

    A drafter that surprises at position i surprises as much at i + 1, where there is little evidence of its own. Not
    from position 1 to 2 of a lookup: there the first is finding a match and the rest are keeping it.
    """
    h: list[float] = []
    shift = 0.0
    for i, (p, kappa) in enumerate(zip(prior, kappas, strict=True)):
        believed = logit(p)
        m = expit(believed + shift)
        e = seen.e[i] if i < len(seen.e) else 0.0
        h.append(seen.mean(i, m, kappa) if e else m)
        if e:
            weight = e / (e + kappa)
            shift = weight * (logit(h[i]) - believed) + (1 - weight) * shift
        if i == 0 and lookup:
            shift = 0.0
    return tuple(h)


def strengths(kappa: float, siblings: Sequence[float]) -> tuple[float, ...]:
    """Exposures that a prior made of siblings is worth, per position: κ without any, `WITHIN` with all there could be.

    Variances of the two levels add up: 1/strength = 1/WITHIN + 1/(κ' + e), κ' such that no evidence leaves κ.
    """
    rest = 1 / (1 / kappa - 1 / WITHIN)
    return tuple([1 / (1 / WITHIN + 1 / (rest + e)) for e in siblings])


def curve(
    prior: Sequence[float],
    own: Record,
    siblings: Positions,
    lookup: bool,
    kappa: float = KAPPA,
    keep: float = 1.0,
    usual_design: float = DESIGN_PRIOR,
    unsure: float = 0.0,
    covered: float = 1.0,
) -> Curve:
    """The belief about one key: its own record over its siblings (same task, other segments and buckets) over the
    prior.

    `unsure` is the standard deviation, in log-odds, of how far the drafter as a whole is off its priors; `covered` the
    coverage that the siblings showed.
    """
    k_max = len(prior)
    mean, kappas = prior, (kappa,) * k_max
    if any(siblings.e):
        mean = carried(prior, siblings, lookup, kappas)
        kappas = strengths(kappa, siblings.e)
    seen = positions(own.fields, k_max, keep)
    h = carried(mean, seen, lookup, kappas)
    coverage = coverage_of(own.fields, covered, keep)
    design = design_effect(own.fields, usual_design, DESIGN_WEIGHT)
    told = seen.e[0] / design + (siblings.e[0] / usual_design if siblings.e else 0.0)
    expected, spread, shared = _tokens(h, seen.e, coverage, kappas, design, unsure * (kappa / (told + kappa)) ** 2)
    noise = tuple(map(truediv, spread, expected))
    requests = own.fields.get("n", 0.0) * keep
    weight = tuple(e / design + k for e, k in zip(seen.e, kappas, strict=True))
    alike = _alike(own.fields, sum(seen.e) / keep if keep else 0.0, design)
    inverse = tuple(1 / tokens for tokens in expected)
    careful = tuple(1 / (tokens - CAUTION * error) for tokens, error in zip(expected, shared, strict=True))
    return Curve(
        h,
        seen.e,
        coverage,
        expected,
        inverse,
        careful,
        spread,
        noise,
        seen.e[0] / design,
        requests,
        design,
        weight,
        alike,
    )


def coverage_of(fields: Mapping[str, float], before: float = 1.0, keep: float = 1.0) -> float:
    """q: the share of verify steps with any proposal, believed `before` until `COVERED` steps say otherwise.

    Whoever takes over h takes over this: what was accepted, was where there was a proposal.
    """
    drafting, steps = keep * fields.get("qn", 0.0), keep * fields.get("qd", 0.0)
    return min(1.0, (drafting + COVERED * before) / (max(steps, drafting) + COVERED))


def design_effect(fields: Mapping[str, float], prior: float, weight: float) -> float:
    """Variance of a request's successes over that of independent drafts, at least 1, drawn to `prior`.

    A variance from a dozen requests is itself so noisy that it would cause alarms: a key borrows from its drafter's
    others.
    """
    n, vv, vb = fields.get("n", 0.0), fields.get("vv", 0.0), fields.get("vb", 0.0)
    ratio = vv / vb if vb > 0 else prior
    return max(1.0, (n * ratio + weight * prior) / (n + weight))


def _alike(fields: Mapping[str, float], exposures: float, design: float) -> float:
    """Intra-class correlation ρ from design = 1 + (ē − 1)·ρ, ē the exposures of the request that a mean exposure is
    in."""
    size = fields.get("ee", 0.0) / exposures if exposures > 0 else USUAL_SIZE
    return (design - 1) / max(size - 1, 1.0)


def _tokens(
    h: Sequence[float],
    e: Sequence[float],
    coverage: float,
    kappas: Sequence[float],
    design: float,
    unsure: float = 0.0,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """E(k) and its standard error by the delta method: var E(k) = Σ_{j≤k} (Σ_{j≤i≤k} S(i))² w_j, w_j = var h_j / h_j².

    With C(k) = Σ_{i≤k} S(i) the inner sum is C(k) − C(j−1), so three running sums over j give every k at once. To that
    comes an error that all positions share: one of `unsure` log-odds moves log h_j by 1 − h_j.
    """
    expected, spread, shared = [1.0], [0.0], [0.0]
    survival, before, once, twice, thrice = 1.0, 0.0, 0.0, 0.0, 0.0
    slope = fall = known = 0.0
    for p, n, kappa in zip(h, e, kappas, strict=True):
        survival *= p
        w = (1 - p) / (p * (n / design + kappa + CARRY * known + 1)) if p > 0 else 0.0
        known = max(n / (n + kappa * design), FADING * known)
        once, twice, thrice = once + w, twice + before * w, thrice + before * before * w
        before += survival
        fall += 1 - p
        slope += survival * fall
        expected.append(1.0 + coverage * before)
        own = before * before * once - 2 * before * twice + thrice
        spread.append(coverage * math.sqrt(max(0.0, own)))
        shared.append(coverage * unsure * slope)
    return tuple(expected), tuple(spread), tuple(shared)


def moment_kappa(means: Sequence[float], priors: Sequence[float], exposures: Sequence[float]) -> float:
    """κ by moments over the keys of one drafter: p(1 − p)/τ² − 1 with τ² their variance beyond sampling, within [10,
    60]."""
    if len(means) < 4:
        return KAPPA
    p = sum(means) / len(means)
    total = sum((m - q) ** 2 for m, q in zip(means, priors, strict=True)) / len(means)
    sampling = sum(m * (1 - m) / e for m, e in zip(means, exposures, strict=True)) / len(means)
    between = total - sampling
    if between <= 0:
        return KAPPA_MAX
    return min(max(p * (1 - p) / between - 1, KAPPA_MIN), KAPPA_MAX)
