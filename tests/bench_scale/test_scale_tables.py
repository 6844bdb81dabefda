"""The tables of docs/scale.md are those of the committed result."""

from pathlib import Path

from bench.scale.tables import DOCUMENT, RESULT, tables

ROOT = Path(__file__).parents[2]


def test_the_document_says_what_was_measured() -> None:
    """Every figure; `python -m bench.scale.tables` writes them."""
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    for place, table in tables(ROOT / RESULT):
        assert f"<!-- {place} -->\n\n{table}\n\n<!-- /{place} -->" in text, place
