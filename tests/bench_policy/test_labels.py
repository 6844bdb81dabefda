"""What wrong labels cost and foresight is worth: drawn from the matrix, compared on the same requests."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.policy.labels import Confusion, costs_of, foreseen, main, mislabelled, read_confusion
from bench.policy.oracle import Truth
from bench.policy.protocol import scenarios
from bench.policy.report import workload_of
from bench.policy.workload import Workload
from classifiers.artefact import SHIPPED

PERFECT: Confusion = {"sql_generation": {"sql_generation": 5}}


def workload(requests: int = 600) -> Workload:
    """Requests of the CPU calibration."""
    return workload_of(scenarios("cpu-demo", requests)["load50"], seed=1)


def test_labels_follow_the_matrix() -> None:
    """The shares of a row are those of its task's labels, names that the calibration lacks included."""
    matrix = {"sql_generation": {"sql_generation": 3, "legal_analysis": 1}}
    before = workload(3000)
    after = mislabelled(before, matrix, seed=1)
    sql = before.task == before.tasks.index("sql_generation")
    wrong = after.label[sql] == after.tasks.index("legal_analysis")
    assert 0.18 < wrong.mean() < 0.32
    assert np.array_equal(after.label[~sql], after.task[~sql])
    assert after.tasks[: len(before.tasks)] == before.tasks


def test_perfect_labels_cost_nothing() -> None:
    """The same run twice: the comparison itself adds no difference."""
    scenario = scenarios("cpu-demo", 300)["load50"]
    found = costs_of(scenario, PERFECT, seeds=[1])
    assert (found.wrong_labels, found.errors.value, found.doubted.value) == (0.0, 0.0, 0.0)


def test_labels_that_say_nothing_cost_time() -> None:
    """Every task called by any name: worse than knowing it."""
    scenario = scenarios("cpu-demo", 1500)["load50"]
    tasks = scenario.loaded().tasks
    anything: Confusion = {task: dict.fromkeys(tasks, 1.0) for task in tasks}
    found = costs_of(scenario, anything, seeds=[1, 2])
    assert found.wrong_labels > 0.7
    assert found.errors.value > 0.02
    assert np.isfinite(found.doubted.value)


def test_foresight_runs_from_the_task_to_the_answer() -> None:
    """R² = 0 is the task's mean, 1 the answer's own; between them the deviations have that share of the variance."""
    found = workload(2000)
    drafter = next(iter(found.landed))
    task, answer = Truth(found, 4), Truth(found, 4)
    none, some, all_of_it = (foreseen(found, 4, share, seed=1) for share in (0.0, 0.3, 1.0))
    assert none.of_task(drafter, 7) == task.of_task(drafter, 7)
    assert all_of_it.of_task(drafter, 7) == pytest.approx(answer.of_request(drafter, 7))
    same = (found.task == 0).nonzero()[0][:300]
    mean = task.of_task(drafter, int(same[0]))[4]
    predicted = np.array([some.of_task(drafter, int(at))[4] - mean for at in same])
    true = np.array([answer.of_request(drafter, int(at))[4] - mean for at in same])
    assert 0.35 < np.corrcoef(predicted, true)[0, 1] < 0.75
    assert 0.2 < predicted.var() / true.var() < 0.45
    strange = foreseen(found, 4, 0.3, seed=1, informed=False)
    noise = np.array([strange.of_task(drafter, int(at))[4] - mean for at in same])
    assert abs(np.corrcoef(noise, true)[0, 1]) < 0.2
    assert 0.2 < noise.var() / true.var() < 0.45


def test_the_shipped_card_is_read(tmp_path: Path) -> None:
    """Its matrix has the ten tasks; a file without one is refused by name."""
    assert len(read_confusion(SHIPPED / "card.json")) == 11
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(ValueError, match=r"none\.json"):
        read_confusion(tmp_path / "none.json")


def test_the_command_writes_figures_with_their_provenance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per calibration, and JSON to commit; what is unknown is said."""
    out = tmp_path / "labels.json"
    small = ["--calibration", "cpu-demo", "--requests", "60", "--seeds", "1"]
    assert main([*small, "--json", str(out)]) == 0
    assert "wrong labels cost" in capsys.readouterr().out
    found = orjson.loads(out.read_bytes())
    assert found["provenance"]["commit"] is not None
    assert set(found["calibrations"]["cpu-demo"]["foreseen"]) == {"0.1", "0.3", "1.0"}
    assert main([*small, "--scenario", "none"]) == 2
    assert "load50" in capsys.readouterr().err
