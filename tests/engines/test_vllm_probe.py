"""What the probe reads from a request's own account of its time."""

import pytest

from engines.contract import EngineMetrics, VerifySteps
from engines.pool import PoolSettings
from engines.simulator.engine import SimulatedEngine
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from engines.verification import wide_batch
from engines.vllm_probe import fastest, measured_ks, probe, step_ms


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
    assert measured_ks(0) == [0]
    assert measured_ks(4) == [0, 1, 2, 3, 4]
    assert measured_ks(16) == [0, 3, 6, 10, 13, 16]


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


async def probed(calibration: str, wide: int) -> dict[tuple[int, int], float]:
    """What is measured of a simulated engine with four drafts."""
    chosen = SimulatorSettings(model="m", method="eagle", k_max=4, calibration=calibration, max_num_seqs=64)
    async with SimulatorServer(SimulatedEngine(chosen)) as server:
        found = await probe(server.url, None, model="m", k_max=4, rounds=1, wide=wide)
    return {(point.batch, point.k): point.step_ms for point in found}


async def test_a_wide_batch_shows_what_its_drafts_cost() -> None:
    """Measured once without and with all of them, where it was asked for."""
    found = await probed("h100-8b-eagle", 64)
    assert {point for point in found if point[0] > 4} == {(64, 0), (64, 4)}
    assert found[64, 4] - found[64, 0] > 1.2 * (found[1, 4] - found[1, 0])
    assert not [point for point in await probed("h100-8b-eagle", 0) if point[0] > 4]


async def test_a_wide_batch_that_would_take_minutes_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large model on a CPU has its start to make, and small batches tell how slow it is."""
    monkeypatch.setattr("engines.vllm_probe.WIDE_LIMIT_S", 0.125)
    assert not [point for point in await probed("h100-8b-eagle", 64) if point[0] > 4]


@pytest.mark.parametrize(
    ("engine", "context", "max_running", "wide"),
    [
        ("vllm", 4096, 256, 64),
        ("vllm", 4096, 32, 32),
        ("vllm", 4096, 8, 0),
        ("vllm", 512, 256, 0),
        ("vllm", None, 256, 0),
        ("url", 4096, 256, 0),
        ("simulator", 4096, 256, 0),
    ],
)
def test_only_an_engine_of_our_own_is_filled(engine: str, context: int | None, max_running: int, wide: int) -> None:
    """Another's may be serving; a small one has no wide batch; and its answers must fit."""
    urls = ["http://e:1"] if engine == "url" else []
    pool = PoolSettings.model_validate({"name": "p", "model": "m", "engine": engine, "target": "t", "urls": urls})
    assert wide_batch(pool, context, max_running) == wide
