"""The verdict on an engine's answers: a changed token and a changed distribution are found, a right one passes."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from bench.correctness.verdict import LEAST_CELLS, differing, distribution, least_samples

FACES = {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}
CHANCES: dict[tuple[int, ...], float] = {(a, b): FACES[a] * FACES[b] for a, b in product(FACES, repeat=2)}


def drawn(weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]], samples: int) -> Counter[tuple[int, ...]]:
    """So many pairs, drawn with these weights."""
    rows = list(CHANCES)
    places = np.random.default_rng(3).choice(len(rows), size=samples, p=weights / weights.sum())
    return Counter(rows[place] for place in places)


def test_one_other_token_is_a_difference() -> None:
    """Which answers differ, by their place; a shorter answer differs too."""
    assert differing([[1, 2], [3], [4, 5]], [[1, 2], [4], [4]]) == [1, 2]


def test_samples_of_the_right_distribution_pass() -> None:
    """20,000 samples of what was expected."""
    found = distribution(drawn(np.array(list(CHANCES.values())), 20_000), CHANCES)
    assert found.unchanged
    assert found.samples == 20_000


def test_too_few_samples_are_no_verdict() -> None:
    """One cell has no p: a count that leaves fewer than eight is refused, the least that leaves them is not."""
    weights, least = np.array(list(CHANCES.values())), least_samples(CHANCES)
    with pytest.raises(ValueError, match=f"at least {least}"):
        distribution(drawn(weights, least - 1), CHANCES)
    found = distribution(drawn(weights, least), CHANCES)
    assert found.cells >= LEAST_CELLS
    assert 0 <= found.p <= 1


@pytest.mark.parametrize("fault", ["flatter", "greedy now and then", "elsewhere"])
def test_samples_of_another_distribution_fail(fault: str) -> None:
    """A temperature a little off, the likeliest row once more in fifty, rows that cannot come."""
    weights = np.array(list(CHANCES.values()))
    if fault == "flatter":
        weights = weights**0.9
    elif fault == "greedy now and then":
        weights[0] += 0.02
    seen = drawn(weights, 20_000)
    if fault == "elsewhere":
        seen[9, 9] = 40
    assert not distribution(seen, CHANCES).unchanged
