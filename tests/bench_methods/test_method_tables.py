"""The tables of what methods gain: from the committed results, into the places that documents keep for them."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.document import write_table
from bench.methods.tables import ALL, TASKS, lengths_table, times_table

ROOT = Path(__file__).parents[2]
LENGTHS = ROOT / "bench" / "results" / "lengths" / "demo.json"
DOCUMENT = ROOT / "docs" / "choosing-a-drafter.md"


def _ratio(value: float) -> dict[str, Any]:
    return {"ratio": {"value": value, "low": value - 0.1, "high": value + 0.1}}


def _method(**ratios: tuple[float, float]) -> dict[str, Any]:
    return {"tasks": {task: {"2": _ratio(two), "4": _ratio(four)} for task, (two, four) in ratios.items()}}


def test_times_are_those_of_the_better_k() -> None:
    """Each task at its best k, all of them at one with its interval; what was not asked is a dash."""
    found = {"ngram": _method(sql_generation=(0.9, 0.8), mathematics=(1.02, 1.3), **{ALL: (0.95, 0.9)})}
    line = times_table(found, 4).splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:4] == ["0.80 (k = 4)", "1.02 (k = 2)", "–"]
    assert cells[-1] == "**0.90** [0.80, 1.00]"
    assert len(cells) == 1 + len(TASKS)


def test_a_table_replaces_the_one_before_it(tmp_path: Path) -> None:
    """Between its two comments, and nothing else; a document without them is left as it is."""
    document = tmp_path / "a.md"
    document.write_text("one\n<!-- t -->\nold\n<!-- /t -->\ntwo\n")
    for table in ("| new |", "| newer |"):
        write_table(document, "t", table)
        assert document.read_text() == f"one\n<!-- t -->\n\n{table}\n\n<!-- /t -->\ntwo\n"
    with pytest.raises(ValueError, match="no place for a table"):
        write_table(document, "u", "| x |")
    assert "newer" in document.read_text()


def test_the_document_shows_the_committed_lengths() -> None:
    """Every figure of the table is the results file's."""
    found = json.loads(LENGTHS.read_text())["tokens_per_step"]
    assert f"\n{lengths_table(found)}\n" in DOCUMENT.read_text()


def test_the_document_shows_the_committed_times() -> None:
    """The same for the times, once there are some."""
    results = ROOT / "bench" / "results" / "methods" / "cpu-demo.json"
    if not results.exists():
        pytest.skip("not measured yet")
    found = json.loads(results.read_text())
    assert f"\n{times_table(found['methods'], max(found['ks']))}\n" in DOCUMENT.read_text()
