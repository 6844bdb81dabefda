"""Non-negative least squares on the normal equations of a handful of regressors, without numpy."""

from collections.abc import Sequence
from operator import mul

Matrix = Sequence[Sequence[float]]


def solve(a: Matrix, b: Sequence[float]) -> list[float]:
    """Solve the symmetric positive definite system a·x = b by Cholesky; pivots are floored, so it never divides by
    zero."""
    n = len(b)
    low: list[list[float]] = []
    inverse: list[float] = []
    y: list[float] = []
    for i, line in enumerate(a):
        row: list[float] = []
        for j in range(i):
            row.append((line[j] - sum(map(mul, row, low[j]))) * inverse[j])
        inverse.append(max(line[i] - sum(map(mul, row, row)), 1e-12 * line[i] + 1e-30) ** -0.5)
        y.append((b[i] - sum(map(mul, row, y))) * inverse[i])
        low.append(row)
    x = [0.0] * n
    for i in reversed(range(n)):
        x[i] = (y[i] - sum(low[m][i] * x[m] for m in range(i + 1, n))) * inverse[i]
    return x


def nonnegative(a: Matrix, b: Sequence[float], rounds: int = 30) -> list[float]:
    """argmin x'ax/2 − b'x subject to x ≥ 0 (Lawson and Hanson 1974), a symmetric positive definite."""
    n = len(b)
    x, free = [0.0] * n, set(range(n))
    for _ in range(rounds):
        trial = _restricted(a, b, free)
        negative = [i for i in free if trial[i] < 0]
        if negative:
            x, free = _step_to_bound(x, trial, free)
            continue
        x = trial
        slope = [b[i] - sum(a[i][j] * x[j] for j in range(n)) for i in range(n)]
        held = [i for i in range(n) if i not in free and slope[i] > 1e-9 * abs(b[i])]
        if not held:
            break
        free.add(max(held, key=lambda i: slope[i] / (a[i][i] or 1.0)))
    return [max(0.0, v) for v in x]


def _restricted(a: Matrix, b: Sequence[float], free: set[int]) -> list[float]:
    index = sorted(free)
    part = solve([[a[i][j] for j in index] for i in index], [b[i] for i in index])
    full = [0.0] * len(b)
    for i, value in zip(index, part, strict=True):
        full[i] = value
    return full


def _step_to_bound(x: Sequence[float], trial: Sequence[float], free: set[int]) -> tuple[list[float], set[int]]:
    """Move from x towards trial until the first variable meets zero; it leaves the free set."""
    ratios = {i: x[i] / (x[i] - trial[i]) for i in free if trial[i] < 0}
    step = min(ratios.values())
    moved = [x[i] + step * (trial[i] - x[i]) for i in range(len(x))]
    return moved, {i for i in free if not (trial[i] < 0 and ratios[i] <= step)}
