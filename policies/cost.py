"""The step time of one replica as a function of its batch, learnt from finished requests by additive sums.

t ≈ θ · x with x = [1(K=0), B, ΣK, 1(K>0), K, V, P, M]: B requests in the batch, ΣK drafts asked in it per step, K
the largest k, V thousands of KV tokens, P thousands of prompt tokens prefilled per step (prefills of others stretch the
mean step: without P they would pass for the price of a larger batch), M other engines at work on the same hardware
(two that share a machine's cores or a GPU slow each other, which neither's start-up probe shows). A step without drafts
has a base of its own: k = 0 in a speculative engine can cost more than drafting suggests, and one base for both would
charge that to the others.
The sums XᵀX and Xᵀt, each row divided by its step time so that errors are relative, are the record: records of several
routers add, and with decay they are recursive least squares with forgetting.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from policies.nnls import nonnegative
from policies.outcome import Outcome
from policies.priors import STEP_S
from policies.replica import StepTime

Row = tuple[float, float, float, float, float, float, float, float]
Theta = tuple[float, float, float, float, float, float, float, float]

SIZE = 8
PAIRS = tuple(combinations_with_replacement(range(SIZE), 2))
GRAM = tuple(f"x{i}{j}" for i, j in PAIRS)
RIGHT = tuple(f"t{i}" for i in range(SIZE))

HALF_LIFE_REQUESTS = 400.0
HALF_LIFE_S = 3600.0
MIN_STEPS = 4
IMPOSSIBLE = 1e7
"""No regressor is as large: such a figure is an error."""
BATCH_EDGES = (4, 16, 64)
TYPICAL: Row = (1.0, 8.0, 16.0, 1.0, 3.0, 8.0, 0.1, 1.0)
PROBE_WEIGHT = 2.0
RIDGE = 0.02
SHAPE: Theta = (0.5, 0.5, 0.5, 0.5, 0.5, 2.0, 2.0, 10.0)
"""Relative deviation of each coefficient that a probe leaves open; it has seen no KV, no prefills and no neighbours."""

OWN: Theta = (0.15, 0.15, 0.15, 0.15, 0.15, 0.6, 0.6, 2.0)
"""The same for a replica against its pool at its speed, and for a batch bucket against its replica. Looser, marginal
prices were off by 30–50 % (rms over replicas) at 110 % load in the simulator; with these by 20–25 %."""

SLACK = 0.04
"""Share of a typical step added to each coefficient before its share is taken, so that a price of 0 can rise."""

LEAST_STEP_S = 1e-6
"""No engine's step takes less, with or without drafts: scores divide by it."""

TIE = 0.5
"""Rows by which the bases with and without drafts are held at the prior's distance: either alone says much of both."""

HUBER = 2.0
LEAST_WEIGHT = 0.02
"""Weight of a row of whose batch next to nothing was ours: which k the others had is a guess, and guessed regressors
make drafts look cheaper than they are."""
UNSURE_ROWS = 10.0
"""Up to here every observation counts in full: a young model cannot tell an outlier from its own error."""
RELATIVE_NOISE = 0.08
"""Residuals beyond `HUBER` times this share of the prediction weigh less."""


@dataclass(frozen=True, slots=True)
class StepModel:
    """θ per batch bucket; `weight` is the evidence behind it (rows), `noise` the relative residual."""

    thetas: tuple[Theta, ...]
    weight: float
    noise: float

    def step_s(self, x: Row) -> float:
        """Predicted seconds of one step."""
        theta = self.thetas[bucket(x[1])]
        return sum(a * b for a, b in zip(theta, x, strict=True))


def bucket(batch: float) -> int:
    """Index of the batch bucket: below 4, 16, 64, or above."""
    return bisect_right(BATCH_EDGES, batch)


def row(
    batch: float,
    mean_k: float,
    max_k: float,
    context_tokens: float,
    prefill_tokens: float = 0.0,
    neighbours: float = 0.0,
) -> Row:
    """The regressors of a batch of `batch` requests with `mean_k` drafts each; `prefill_tokens` are per step."""
    drafting = min(1.0, max_k)  # a mean below 1: some of the steps had no drafts at all
    kv, prefilled = batch * context_tokens / 1000, prefill_tokens / 1000
    return (1.0 - drafting, batch, batch * mean_k, drafting, max_k, kv, prefilled, neighbours)


def record_key(pool: str, replica: str, batch: float) -> str:
    """The cost record of a replica at this batch size."""
    return f"step:{pool}:{replica}:{bucket(batch)}"


def record_keys(pool: str, replica: str) -> tuple[str, ...]:
    """The cost records of a replica, one per batch bucket."""
    return tuple(f"step:{pool}:{replica}:{b}" for b in range(len(BATCH_EDGES) + 1))


def replica_of(key: str) -> str:
    """The replica that a cost record is about; ValueError where the key is none."""
    parts = key.split(":")
    if len(parts) < 4:
        raise ValueError(f"not the key of a cost record: {key!r}")
    return ":".join(parts[2:-1])


@dataclass(frozen=True, slots=True)
class Observation:
    """A mean step time over one request's life, with the batch it was in, of which a share is known for certain."""

    x: Row
    step_s: float
    steps: float
    known: float = 1.0


def observe(outcome: Outcome) -> Observation | None:
    """The step time of a finished request, without an engine hook; None where it is too short, waited or impossible.

    Steps = output tokens − accepted drafts − 1 (the first token is the prefill's).
    """
    steps = max(len(outcome.drafted), outcome.output_tokens - sum(outcome.accepted) - 1)
    if not outcome.timed or steps < MIN_STEPS:
        return None
    mean_k = max(0.0, outcome.mean_k)
    x = row(
        max(1.0, outcome.mean_batch),
        mean_k,
        max(mean_k, outcome.mean_max_k),
        max(0.0, outcome.context_tokens),
        max(0.0, outcome.prefill_tokens) / steps,
        max(0.0, outcome.mean_neighbours),
    )
    return Observation(x, outcome.generation_s / steps, float(steps), outcome.known) if max(x) < IMPOSSIBLE else None


def cost_fields(seen: Observation, model: StepModel) -> dict[str, float]:
    """The sums one observation adds: Huber-weighted, relative, and longer requests weigh more."""
    predicted = max(model.step_s(seen.x), 1e-6)
    error = (seen.step_s - predicted) / predicted
    limit = HUBER * max(RELATIVE_NOISE, model.noise) if model.weight >= UNSURE_ROWS else math.inf
    weight = max(LEAST_WEIGHT, seen.known) * seen.steps / (seen.steps + 8) * min(1.0, limit / max(abs(error), 1e-9))
    # One stalled request must not stretch the scale: rows are divided by the larger of both times.
    scale = weight / max(predicted, seen.step_s) ** 2
    fields = _sums(seen.x, seen.step_s, scale)
    return fields | {"w": weight, "rr": weight * min(error * error, 1.0)}


def _sums(x: Row, t: float, scale: float) -> dict[str, float]:
    fields = {name: scale * x[i] * x[j] for name, (i, j) in zip(GRAM, PAIRS, strict=True) if x[i] and x[j]}
    return fields | {name: scale * x[i] * t for i, name in enumerate(RIGHT) if x[i]}


def probe_sums(probe: Sequence[StepTime]) -> dict[str, float]:
    """A replica's start-up probe as sums of `PROBE_WEIGHT` rows per point."""
    total: dict[str, float] = {}
    for point in probe:
        t = point.step_ms / 1e3
        for name, value in _sums(row(point.batch, point.k, point.k, 0.0), t, PROBE_WEIGHT / (t * t)).items():
            total[name] = total.get(name, 0.0) + value
    return total


@dataclass(frozen=True, slots=True)
class Probe:
    """A start-up probe, solved: its sums, and the θ that they give alone (the generic prior without a probe)."""

    sums: Mapping[str, float]
    theta: Theta


def solve_probe(points: Sequence[StepTime]) -> Probe:
    """Solve a probe once; it is the prior of every later fit."""
    sums = probe_sums(points)
    if not sums:
        return Probe(sums, STEP_S)
    scaled = _scaled(STEP_S, sums)
    return Probe(sums, _solve(sums, scaled, _drawn(scaled, RIDGE)))


def fit(
    buckets: Sequence[Mapping[str, float]], probe: Probe, siblings: Sequence[Mapping[str, float]] = ()
) -> StepModel:
    """Solve θ over the probe and what all replicas of the pool saw, then over this replica, then over each batch
    bucket, each drawn to the one before.

    `siblings` are the summed records of the pool's other replicas: they share the shape of the step time, whatever
    their speeds. Their batches differ more than one replica's do, and that tells the prices apart.
    """
    present = [fields for fields in buckets if fields]
    seen = total(present)
    sources = [_at_speed(fields, probe.theta) for fields in (seen, *siblings)]
    # The probe's shape stays true when the machine slows down; its times do not.
    pooled = total([*sources, probe.sums])
    prior = probe.theta
    shape = _solve(pooled, prior, _believed(prior, SHAPE) if probe.sums else _drawn(prior, RIDGE))
    scaled = _scaled(shape, seen)
    overall = _solve(seen, scaled, _believed(scaled, OWN))
    drawn = _believed(overall, OWN)
    thetas = tuple(_solve(b, overall, drawn) if b.get("w", 0.0) > 1 else overall for b in buckets)
    weight = sum(b.get("w", 0.0) for b in present)
    noise = (sum(b.get("rr", 0.0) for b in present) / weight) ** 0.5 if weight > 1 else RELATIVE_NOISE
    return StepModel(thetas, weight, noise)


def total(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sums of several records as of one."""
    return {name: sum([fields.get(name, 0.0) for fields in parts]) for name in (*GRAM, *RIGHT)}


def _at_speed(fields: Mapping[str, float], theta: Theta) -> dict[str, float]:
    """Sums as they would be on a machine of the speed of θ: rows carry 1/t², so XᵀX grows with the square."""
    factor = _factor(theta, fields)
    gram = {name: factor * factor * fields.get(name, 0.0) for name in GRAM}
    return gram | {name: factor * fields.get(name, 0.0) for name in RIGHT}


def _scaled(prior: Theta, fields: Mapping[str, float]) -> Theta:
    """The prior times the one factor that fits the sums best: its shape is believed, its speed is not."""
    factor = _factor(prior, fields)
    a, b, c, d, e, f, g, h = (p * factor for p in prior)
    return (a, b, c, d, e, f, g, h)


def _factor(prior: Theta, fields: Mapping[str, float]) -> float:
    """Least-squares factor on the prior's predictions."""
    weighed = [(name, prior[i] * prior[j] * (1 if i == j else 2)) for name, (i, j) in zip(GRAM, PAIRS, strict=True)]
    own = sum([fields.get(name, 0.0) * product for name, product in weighed])
    if own <= 0:
        return 1.0
    return sum([fields.get(name, 0.0) * p for name, p in zip(RIGHT, prior, strict=True)]) / own


def _typical_s(prior: Theta) -> float:
    return sum(a * b for a, b in zip(prior, TYPICAL, strict=True)) - prior[0]  # it drafts


def _drawn(prior: Theta, rows: float) -> list[float]:
    """Weights that draw θ to a prior as by so many rows of a typical batch at its predicted time."""
    typical_s = _typical_s(prior)
    return [rows * (x / typical_s) ** 2 for x in TYPICAL]


def _believed(prior: Theta, shares: Theta) -> list[float]:
    """Weights that believe each coefficient to within its share of itself (normal, against `RELATIVE_NOISE`).

    Rows of a busy replica are much alike: without this the price of drafts, of requests and of KV tokens trade places.
    """
    spreads = [share * (p + SLACK * _typical_s(prior) / x) for share, p, x in zip(shares, prior, TYPICAL, strict=True)]
    return [(RELATIVE_NOISE / spread) ** 2 for spread in spreads]


def _solve(fields: Mapping[str, float], prior: Theta, weights: Sequence[float]) -> Theta:
    """Non-negative θ from sums, each coefficient drawn to `prior` by its weight."""
    a = [[0.0] * SIZE for _ in range(SIZE)]
    for name, (i, j) in zip(GRAM, PAIRS, strict=True):
        a[i][j] = a[j][i] = fields.get(name, 0.0)
    b = [fields.get(name, 0.0) for name in RIGHT]
    for i, weight in enumerate(weights):
        a[i][i] += weight
        b[i] += weight * prior[i]
    tie = TIE / _typical_s(prior) ** 2
    a[0][0], a[3][3], a[0][3], a[3][0] = a[0][0] + tie, a[3][3] + tie, a[0][3] - tie, a[3][0] - tie
    b[0], b[3] = b[0] - tie * (prior[3] - prior[0]), b[3] + tie * (prior[3] - prior[0])
    x0, x1, x2, x3, x4, x5, x6, x7 = nonnegative(a, b)
    return (max(x0, LEAST_STEP_S), x1, x2, max(x3, LEAST_STEP_S), x4, x5, x6, x7)
