"""The measured survival table, for a terminal or as JSON."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from engines.demo.build import DemoPair
from engines.demo.reading import load_pair
from engines.demo.survival import Survival, measure_survival
from engines.demo.workload import ExampleRequest, load_workload

_CAPTION = "S: survival of drafts; tokens/step: 1 + ΣS at k = 4; tokens: mean length of an output"


def print_survival(pair: DemoPair, temperatures: Sequence[float], prompts: int, as_json: bool) -> None:
    """Measure the pair on `prompts` workload requests per task and print one row per measurement."""
    loaded = load_pair(pair)
    requests = first_of_each_task(load_workload(), prompts)
    rows = [row for temperature in temperatures for row in measure_survival(loaded, requests, temperature)]
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        Console().print(survival_table(rows))


def first_of_each_task(requests: Sequence[ExampleRequest], count: int) -> list[ExampleRequest]:
    """The first `count` requests of each task."""
    by_task: dict[str, list[ExampleRequest]] = defaultdict(list)
    for request in requests:
        by_task[request.task].append(request)
    return [request for same in by_task.values() for request in same[:count]]


def survival_table(rows: Sequence[Survival]) -> Table:
    """One row per task, temperature and way of drafting: S(1..4) and tokens per step at k = 4."""
    table = Table("task", "T", "drafts", "S(1)", "S(2)", "S(3)", "S(4)", "tokens/step", "tokens", caption=_CAPTION)
    for row in sorted(rows, key=lambda row: (row.temperature, row.drafting, -row.curve[0])):
        curve = (f"{survival:.2f}" for survival in row.curve)
        length = f"{1 + sum(row.curve):.2f}"
        table.add_row(row.task, f"{row.temperature:g}", row.drafting, *curve, length, f"{row.output_tokens:.0f}")
    return table
