"""What wrong labels cost and foresight is worth: drawn from the matrix, compared on the same requests."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.policy.labels import LEFT_OUT, Labels, costs_of, foreseen, labelled, main, read_labels
from bench.policy.oracle import Truth
from bench.policy.protocol import scenarios
from bench.policy.report import workload_of
from bench.policy.workload import Workload
from bench.provenance import provenance

PERFECT: Labels = {"sql_generation": [(("sql_generation", 1.0),)]}


def workload(requests: int = 600) -> Workload:
    """Requests of the CPU calibration."""
    return workload_of(scenarios("cpu-demo", requests)["load50"], seed=1)


def test_labels_are_those_of_prompts_of_the_same_task() -> None:
    """As often as each is in the file, doubts and names that the calibration lacks included; others keep their own."""
    sure, doubted = (("sql_generation", 1.0),), (("legal_analysis", 0.7), ("sql_generation", 0.3))
    before = workload(3000)
    after = labelled(before, {"sql_generation": [sure, sure, sure, doubted]}, seed=1)
    sql = before.task == before.tasks.index("sql_generation")
    wrong = after.label == after.tasks.index("legal_analysis")
    assert 0.18 < wrong[sql].mean() < 0.32
    assert np.array_equal(after.label[~sql], after.task[~sql])
    assert after.tasks[: len(before.tasks)] == before.tasks
    assert {after.likely[at] for at in wrong.nonzero()[0]} == {doubted}
    assert all(
        likely[0] == (after.tasks[at], 1.0)
        for likely, at in zip(after.likely, after.label, strict=True)
        if likely != doubted
    )


def test_perfect_labels_cost_nothing() -> None:
    """The same run twice: the comparison itself adds no difference."""
    scenario = scenarios("cpu-demo", 300)["load50"]
    found = costs_of(scenario, PERFECT, seeds=[1])
    assert (found.wrong_labels, found.errors.value, found.doubted.value) == (0.0, 0.0, 0.0)


def test_labels_that_say_nothing_cost_time() -> None:
    """Every task called by any name: worse than knowing it."""
    scenario = scenarios("cpu-demo", 1500)["load50"]
    tasks = scenario.loaded().tasks
    anything: Labels = {task: [((name, 1.0),) for name in tasks] for task in tasks}
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


def test_the_shipped_labels_are_read_and_others_refused_by_line(tmp_path: Path) -> None:
    """Ten tasks and `other`; what is wrong with a file is said."""
    assert len(read_labels(LEFT_OUT)) == 11
    bad = tmp_path / "bad.jsonl"
    for text, said in (
        ("", "no labels"),
        ('\n{"task": "t"}', "line 2: likely: field required"),
        ('{"task": "t", "likely": [["a", 1.5]]}', "less than or equal to 1"),
        ("{", "line 1: not JSON"),
    ):
        bad.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_labels(bad)


def test_the_shipped_labels_are_right_as_often_as_they_say() -> None:
    """By steps of confidence, within what so many prompts can tell: doubts that lie would teach nothing."""
    said = [(likely[0][1], likely[0][0] == task) for task, labels in read_labels(LEFT_OUT).items() for likely in labels]
    for low, high in ((0.0, 0.6), (0.6, 0.9), (0.9, 1.01)):
        here = [one for one in said if low <= one[0] < high]
        confidence, right = np.mean(here, axis=0)
        assert right == pytest.approx(confidence, abs=0.08), (low, len(here))


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


def test_commands_are_told_without_this_machine_s_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program elsewhere is named as it would be on a PATH; what is relative stays."""
    monkeypatch.setattr("sys.orig_argv", ["/usr/bin/python3", "-m", "bench.x", "--beside", "/opt/x/bin/peer", "a/b"])
    assert provenance()["command"] == "python3 -m bench.x --beside peer a/b"
