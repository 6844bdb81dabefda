"""What the document says of the answers is what the committed results say."""

import json
from pathlib import Path

import pytest

from bench.correctness.tables import DOCUMENT, REPAIRED, RESULTS, UNREPAIRED, tables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("place", [REPAIRED, UNREPAIRED])
def test_the_document_shows_the_committed_answers(place: str) -> None:
    """Every figure of both tables; `python -m bench.correctness.tables` writes them."""
    shown = f"<!-- {place} -->\n\n{tables(ROOT / RESULTS)[place]}\n\n<!-- /{place} -->"
    assert shown in (ROOT / DOCUMENT).read_text()


def test_results_are_json() -> None:
    """No NaN, which is none: strict readers take every committed result."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for file in (ROOT / "bench" / "results").glob("**/*.json"):
        json.loads(file.read_text(), parse_constant=refuse)


def test_the_fault_is_in_what_was_measured_without_the_repair() -> None:
    """Vanilla is right there and every method is not; with the repair all are."""
    for file in ("models.json", "unpatched.json"):
        found = json.loads((ROOT / RESULTS / file).read_text())
        right = {name: told["right"] for name, told in found["methods"].items() if "right" in told}
        assert right.pop("vanilla")
        assert set(right.values()) == {found["repaired"]}
