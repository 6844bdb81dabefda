"""The shipped example workload is what its generator writes, and nothing the models were trained on by seed."""

from collections import Counter

from engines.demo.workload import PER_TASK, as_lines, load_workload, write_workload


def test_the_shipped_workload_is_what_the_generator_writes() -> None:
    """A change of the language without a new workload.jsonl fails here."""
    shipped = load_workload()
    assert tuple(write_workload(PER_TASK)) == shipped, (
        "run: python -m engines.demo.workload > engines/demo/workload.jsonl"
    )


def test_the_workload_mixes_its_tasks_evenly() -> None:
    """About two hundred requests, as many of each task, not sorted by task."""
    tasks = Counter(request.task for request in load_workload())
    assert set(tasks.values()) == {28}
    assert len(tasks) == 7
    assert len({request.task for request in load_workload()[:20]}) > 4


def test_lines_are_readable_json() -> None:
    """One object per line with the three documented fields."""
    import json

    lines = as_lines(write_workload(1)).splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [["max_tokens", "prompt", "task"]] * 7
