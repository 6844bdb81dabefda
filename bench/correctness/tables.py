"""`python -m bench.correctness.tables`: the committed results as the tables of docs/speculation-methods.md."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.correctness.methods import VANILLA
from bench.document import markdown_table, write_table

RESULTS = Path("bench/results/correctness")
DOCUMENT = Path("docs/speculation-methods.md")
REPAIRED, UNREPAIRED = "bench.correctness", "bench.correctness --unpatched"
NAMES = {
    VANILLA: "none",
    "ngram": "`ngram`",
    "suffix": "`suffix` (arctic-inference 0.3.0)",
    "draft_model": "`draft_model`",
    "draft_model_probabilistic": "`draft_model`, drafts sampled",
    "history": "`ensemble`, past answers alone",
    "ensemble": "`ensemble`, both lookups",
    "ensemble_with_draft_model": "`ensemble` with a draft model",
    "medusa": "`medusa`",
    "eagle": "`eagle`",
}
LEAST_P = 1e-300
"""Below it a float is 0."""


def tables(results: Path) -> Mapping[str, str]:
    """The table of each place: of `models.json` and of `unpatched.json`."""
    files = {REPAIRED: results / "models.json", UNREPAIRED: results / "unpatched.json"}
    return {place: _table(_methods(file)) for place, file in files.items()}


def _methods(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())["methods"]
    return {name: told for name, told in found.items() if "right" in told}


def _table(methods: Mapping[str, Any]) -> str:
    heads = ("method", "greedy answers that differ", "drafts accepted", "p of the samples", "no rolls", "their drafts")
    return markdown_table(heads, [(NAMES[name], *_cells(methods[name])) for name in NAMES if name in methods])


def _cells(told: Mapping[str, Any]) -> tuple[str, ...]:
    greedy, sampled = told["greedy"], told["sampled"]
    return (
        f"{len(greedy['differing'])} of {greedy['answers']}",
        _accepted(greedy),
        "below 10⁻³⁰⁰" if sampled["p"] < LEAST_P else f"{sampled['p']:.2f}".removeprefix("0"),
        f"{sampled['strays']:,} of {sampled['samples']:,}",
        _accepted(sampled),
    )


def _accepted(counts: Mapping[str, Any]) -> str:
    return f"{counts['accepted']:,} of {counts['drafted']:,}" if counts["drafted"] else "–"


if __name__ == "__main__":
    for place, table in tables(RESULTS).items():
        write_table(DOCUMENT, place, table)
        print(table)
