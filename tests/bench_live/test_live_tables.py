"""The tables of the documents are those of the committed results."""

from pathlib import Path

from bench.live.tables import RESULTS, tables

ROOT = Path(__file__).parents[2]


def test_documents_say_what_was_measured() -> None:
    """Every figure of them; `python -m bench.live.tables` writes them."""
    for document, place, table in tables(ROOT / RESULTS):
        text = (ROOT / document).read_text(encoding="utf-8")
        assert f"<!-- {place} -->\n\n{table}\n\n<!-- /{place} -->" in text, place
