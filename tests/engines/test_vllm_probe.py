"""What the probe reads from a request's own account of its time."""

import pytest

from engines.contract import EngineMetrics, VerifySteps
from engines.vllm_probe import _measured_ks, fastest, step_ms


def metrics(tokens: int, generation_ms: float, accepted: list[int] | None, k: int = 2) -> EngineMetrics:
    """A finished request that accepted so many drafts in each drafting step."""
    steps = None if accepted is None else VerifySteps(tuple(k for _ in accepted), tuple(accepted))
    return EngineMetrics(tokens, 5.0, generation_ms, 0.0, steps)


@pytest.mark.parametrize(
    ("measured", "k", "expected_ms"),
    [
        (metrics(11, 100, None), 0, 10.0),  # a vanilla engine: ten tokens after the first
        (metrics(11, 100, []), 0, 10.0),  # k = 0 on a speculative one
        (metrics(10, 60, [2, 2, 2]), 2, 20.0),  # three steps of three tokens
        (metrics(9, 60, [2, 2, 2]), 2, 20.0),  # the last step's tokens cut off at the end
        (metrics(8, 100, [1, 1, 1]), 2, 25.0),  # and one step found nothing to draft
        (metrics(20, 100, [1]), 2, None),  # most steps did not draft: this is not T(B, 2)
        (metrics(20, 100, None), 2, None),
        (metrics(1, 0, None), 0, None),
    ],
)
def test_step_time(measured: EngineMetrics, k: int, expected_ms: float | None) -> None:
    """Milliseconds of generation over the steps it took."""
    assert step_ms(measured, k) == expected_ms


def test_many_values_of_k_are_thinned_out() -> None:
    """Both ends stay; the cost model interpolates between."""
    assert _measured_ks(0) == [0]
    assert _measured_ks(4) == [0, 1, 2, 3, 4]
    assert _measured_ks(16) == [0, 3, 6, 10, 13, 16]


@pytest.mark.parametrize("stall", range(0, 20, 3))
async def test_a_machine_that_is_busy_for_a_while_spoils_no_point(stall: int) -> None:
    """Ten points are measured in three rounds; during any nine measurements in a row all take twice as long."""
    points = [(batch, k) for k in range(5) for batch in (1, 4)]
    taken = 0

    async def measure(batch: int, k: int) -> float | None:
        nonlocal taken
        taken += 1
        return (10.0 + batch + k) * (2 if stall < taken <= stall + 9 else 1)

    found = await fastest(points, 3, measure)
    assert {(point.batch, point.k): point.step_ms for point in found} == {(b, k): 10.0 + b + k for b, k in points}


async def test_a_point_that_never_drafted_is_left_out() -> None:
    """And one that did so once is kept."""
    answers = iter([None, 8.0, None, None, None, 9.0])

    async def measure(batch: int, k: int) -> float | None:
        return next(answers)

    assert [(point.k, point.step_ms) for point in await fastest([(1, 1), (1, 2)], 3, measure)] == [(2, 8.0)]
