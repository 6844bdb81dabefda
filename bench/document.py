"""Where a document holds a table that a benchmark writes."""

from collections.abc import Sequence
from pathlib import Path


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, without a last line break."""
    lines = [heads, *rows]
    cells = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([cells[0], "|" + "---|" * len(heads), *cells[1:]])


def write_table(document: Path, name: str, table: str) -> None:
    """Put a table between the comments `<!-- NAME -->` and `<!-- /NAME -->` of a document.

    ValueError where the document has no such place.
    """
    text = document.read_text(encoding="utf-8")
    before, opened, rest = text.partition(f"<!-- {name} -->\n")
    _, closed, after = rest.partition(f"<!-- /{name} -->\n")
    if not opened or not closed:
        raise ValueError(f"{document} has no place for a table between <!-- {name} --> and <!-- /{name} -->")
    document.write_text(f"{before}{opened}\n{table}\n\n{closed}{after}", encoding="utf-8")
