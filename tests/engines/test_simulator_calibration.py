"""Calibrations: shipped ones load and give back the measurements they come from; wrong ones say what is wrong."""

from pathlib import Path

import pytest

from engines.simulator.acceptance import tilted_curves
from engines.simulator.calibration import CalibrationError, StepCost, StepWork, load_calibration, shipped_calibrations

H100 = "h100-8b-eagle"


def _step_ms(name: str, batch: int, k: int, *, speculative: bool) -> float:
    return load_calibration(name).cost.step_ms(StepWork(batch, drafts=batch * k, largest_k=k), speculative=speculative)


def _speedup(name: str, task: str, batch: int, k: int) -> float:
    survival = tilted_curves(load_calibration(name).profile(task), 0.0, k).survival
    vanilla, speculative = _step_ms(name, batch, 0, speculative=False), _step_ms(name, batch, k, speculative=True)
    return vanilla / (speculative / (1 + sum(survival)))


@pytest.mark.parametrize("name", shipped_calibrations())
def test_shipped_calibrations_load(name: str) -> None:
    """By name, with the source of their figures."""
    assert load_calibration(name).source


def test_the_documented_calibrations_are_shipped() -> None:
    """The names users type."""
    assert {"instant", "cpu-demo", "h100-8b-eagle", "h100-8b-eagle3", "h100-8b-ngram"} <= set(shipped_calibrations())


@pytest.mark.parametrize(("batch", "published"), [(1, 1.95), (64, 1.36), (256, 0.93)])
def test_h100_gives_back_the_published_speedups(batch: int, published: float) -> None:
    """GSM8K with EAGLE at k = 4: speculation pays alone and loses in a full batch."""
    assert _speedup(H100, "mathematics", batch, 4) == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize(
    ("batch", "k", "speculative", "measured_ms"), [(1, 0, False, 49), (1, 4, True, 78), (8, 0, False, 117)]
)
def test_cpu_demo_gives_back_the_measured_steps(batch: int, k: int, speculative: bool, measured_ms: float) -> None:
    """The steps that were measured on two cores, within a tenth."""
    assert _step_ms("cpu-demo", batch, k, speculative=speculative) == pytest.approx(measured_ms, rel=0.1)


def test_the_best_k_depends_on_the_task() -> None:
    """What there is to route: SQL wants every draft, word-by-word translation two, high entropy none."""
    best = {
        task: max(range(1, 5), key=lambda k: _speedup("cpu-demo", task, 1, k))
        for task in ("sql_generation", "translation")
    }
    assert best == {"sql_generation": 4, "translation": 2}
    assert max(_speedup("cpu-demo", "other", 1, k) for k in range(1, 5)) < 1


def test_a_step_costs_every_part_of_its_work() -> None:
    """The sum, term by term: drafting runs as long as the largest k, verification costs each request's own."""
    cost = StepCost(
        base_ms=1,
        per_sequence_ms=10,
        per_token_ms=100,
        per_kv_token_ms=0.5,
        prefill_token_ms=2,
        drafter_ms=3,
        draft_ms=1000,
        draft_per_sequence_ms=0.25,
    )
    work = StepWork(decoding=2, drafts=5, largest_k=4, prefilling=1, prefill_tokens=7, kv_tokens=20)
    assert cost.step_ms(work, speculative=True) == 1 + 30 + 700 + 10 + 14 + 3 + 4000 + 1.25
    assert cost.step_ms(work, speculative=False) == cost.step_ms(work, speculative=True) - 3


def test_a_task_without_a_profile_gets_the_fallback() -> None:
    """A new task is simulated, not refused."""
    calibration = load_calibration("cpu-demo")
    assert calibration.profile("haiku") == calibration.profile("other")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("source: x\ncost: {}\ntasks: {}\n", "other"),
        ("source: x\ncost: {}\ntasks: {other: {h: [1.5]}}\n", "tasks.other.h.0"),
        ("source: x\ncost: {base: 3}\ntasks: {other: {h: [1]}}\n", "cost.base"),
        ("source: [", "calibration"),
        ("", "calibration"),
    ],
)
def test_a_wrong_file_names_the_field(tmp_path: Path, text: str, named: str) -> None:
    """Fail at start, with the place."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=named):
        load_calibration(str(path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    """A typing error shows what there is."""
    with pytest.raises(CalibrationError, match="cpu-demo"):
        load_calibration("gpu-demo")
