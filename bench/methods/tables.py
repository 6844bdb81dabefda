"""The measurements of `bench.methods` as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.document import markdown_table

ALL = "all"
TASKS = {
    "sql_generation": "SQL",
    "mathematics": "mathematics",
    "code_generation": "code",
    "translation": "translation",
    "customer_support": "support",
    "summarization": "summaries",
    "creative_writing": "poems",
    ALL: "all",
}
"""The demo's tasks as the tables call them, in their order."""
NAMES = {
    "ngram": "`ngram` (1 to 4 tokens match)",
    "history": "`ensemble`, past answers alone",
    "ensemble": "`ensemble`, both lookups",
    "draft_model": "`draft_model`",
    "draft_model_probabilistic": "`draft_model`, drafts sampled",
    "ensemble_with_draft_model": "`ensemble` with the draft model",
    "medusa": "`medusa`",
    "eagle": "`eagle`",
    "suffix": "`suffix`",
}


def lengths_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Tokens per verify step by method and task."""
    return _table({name: [f"{row[task]:.2f}" for task in TASKS] for name, row in found.items()}, list(TASKS.values()))


def times_table(found: Mapping[str, Mapping[str, Any]], k_of_all: int) -> str:
    """Time per token over vanilla's by method and task, at the k that is best there; all tasks at one k."""
    heads = [*list(TASKS.values())[:-1], f"all, k = {k_of_all} [95 %]"]
    rows = {name: _times(one["tasks"], str(k_of_all)) for name, one in found.items()}
    return _table(rows, heads)


def _times(tasks: Mapping[str, Any], k_of_all: str) -> list[str]:
    return [*(_best(tasks.get(task, {})) for task in TASKS if task != ALL), _with_interval(tasks[ALL][k_of_all])]


def _best(by_k: Mapping[str, Any]) -> str:
    ratios = {k: one["ratio"]["value"] for k, one in by_k.items() if one["ratio"]}
    if not ratios:
        return "–"
    best = min(ratios, key=lambda k: float(ratios[k]))
    return f"{ratios[best]:.2f} (k = {best})"


def _with_interval(one: Mapping[str, Any]) -> str:
    ratio = one["ratio"]
    return f"**{ratio['value']:.2f}** [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else "–"


def _table(rows: Mapping[str, Sequence[str]], heads: Sequence[str]) -> str:
    return markdown_table(["", *heads], [[NAMES[name], *rows[name]] for name in NAMES if name in rows])
