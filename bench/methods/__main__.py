"""`python -m bench.methods`: the time per token of every way to speculate that runs here, per task.

Engines of some methods at a time beside a vanilla one, on the demo pair; each prompt is asked of all of them in turn,
in an order of its own, and once of each at one of the k, for some drafters learn from answers. Writes the figures
as JSON, and their table into a document.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.correctness.methods import RUNS, VANILLA, missing
from bench.document import write_table
from bench.methods.tables import ALL, times_table
from bench.provenance import provenance
from engines.demo.build import DemoPair, build_demo_pair, default_folder
from engines.demo.workload import PER_TASK, load_workload
from engines.engine_client import EngineClient
from engines.evaluation import Plan, Prompt, Sample, Target, run
from engines.evaluation_figures import Row, row, task_figures
from engines.http import engine_session
from engines.pool import PoolSettings
from engines.progress import reporting
from engines.vllm_server import EngineServer

LIMITS = {"max_model_len": 512, "max_num_seqs": 8}
METHODS = ("draft_model", "medusa", "eagle", "ngram", "ensemble", "ensemble_with_draft_model")
RESULTS = Path("bench/results/methods/cpu-demo.json")
TABLE = "bench.methods"
console = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(arguments)
    found = _begun(options)
    if not options.table:
        pair, drafters = _models(options.methods)
        names = [name for name in options.methods if _runs(name)]
        asyncio.run(_measure(pair, drafters, names, options, found))
    table = times_table(found["methods"], max(found["ks"]))
    if options.document:
        write_table(options.document, TABLE, table)
    print(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.methods", description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=tuple(RUNS), default=METHODS, metavar="METHOD")
    parser.add_argument("--per-task", type=int, default=10, help=f"of {PER_TASK} prompts (default: %(default)s)")
    parser.add_argument("--k", nargs="+", type=int, default=[2, 4], help="numbers of drafts (default: 2 4)")
    parser.add_argument("--temperature", type=float, default=0.0, help="default: %(default)s")
    parser.add_argument("--at-once", type=int, default=3, help="engines beside the vanilla one (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there (default: %(default)s)")
    parser.add_argument("--add", action="store_true", help="keep the methods that the --json file holds already")
    parser.add_argument("--document", type=Path, help=f"write the table there, between comments <!-- {TABLE} -->")
    parser.add_argument("--table", action="store_true", help="measure nothing: the table of the --json file")
    return parser


def _begun(options: argparse.Namespace) -> dict[str, Any]:
    """What is asked, with the methods that are kept."""
    asked = {"prompts_per_task": options.per_task, "ks": options.k, "temperature": options.temperature}
    if not (options.add or options.table) or not options.json.exists():
        return {**asked, "methods": {}}
    kept: dict[str, Any] = json.loads(options.json.read_text())
    if options.add and (other := [name for name, value in asked.items() if kept[name] != value]):
        raise SystemExit(f"{options.json} was measured with another {', '.join(other)}: it cannot be added to")
    return kept


def _models(methods: Sequence[str]) -> tuple[DemoPair, dict[str, Path]]:
    with reporting() as progress:
        pair = build_demo_pair(default_folder(), progress=progress)
        drafters = {"draft_model": pair.draft}
        if {"medusa", "eagle"} & set(methods):
            from engines.demo.heads import build_demo_heads  # torch, only where it is used

            drafters |= build_demo_heads(pair, progress=progress)
    return pair, drafters


def _runs(name: str) -> bool:
    if (why := missing(name)) is not None:
        console.print(f"{name}: skipped, {why}")
    return why is None


async def _measure(
    pair: DemoPair,
    drafters: Mapping[str, Path],
    names: Sequence[str],
    options: argparse.Namespace,
    found: dict[str, Any],
) -> None:
    plain = PoolSettings.model_validate({"name": VANILLA, "target": str(pair.target), "vllm": LIMITS})
    plan = Plan(_prompts(options.per_task), tuple(options.k), 1, options.temperature, once=True)
    async with EngineServer(plain) as vanilla:
        for some in _batches(names, options.at_once):
            pools = {name: RUNS[name].pool("method", pair.target, drafters, LIMITS) for name in some}
            samples = await _asked(pools, vanilla, plan)
            for name in some:
                found["methods"][name] = {"provenance": provenance(), "tasks": _figures(samples, name)}
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


def _batches(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


async def _asked(pools: Mapping[str, PoolSettings], vanilla: EngineServer, plan: Plan) -> list[Sample]:
    """Every answer of these engines and the vanilla one; they start together, to use every core."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(engine_session())
        with console.status(f"{', '.join(pools)}: the engines start"):
            async with asyncio.TaskGroup() as starting:
                tasks = {
                    name: starting.create_task(stack.enter_async_context(EngineServer(pool)))
                    for name, pool in pools.items()
                }
        engines = {VANILLA: vanilla, **{name: task.result() for name, task in tasks.items()}}
        targets = [
            Target(name, await EngineClient.opened(session, one.url, None, one.api_key), name == VANILLA)
            for name, one in engines.items()
        ]
        with Progress(console=console) as progress:
            bar = progress.add_task("answers")
            return await run(plan, targets, lambda done, total: progress.update(bar, completed=done, total=total))


def _prompts(per_task: int) -> tuple[Prompt, ...]:
    by_task: dict[str, list[Prompt]] = {}
    for one in load_workload():
        by_task.setdefault(one.task, []).append(Prompt(one.task, one.prompt, one.max_tokens))
    return tuple(prompt for prompts in by_task.values() for prompt in prompts[:per_task])


def _figures(samples: Sequence[Sample], name: str) -> dict[str, Any]:
    """By task, and of all of them together, the figures of an engine at each k."""
    rows = [row(s.engine, s.task, s.prompt, s.k, s.round, s.metrics) for s in samples if s.engine in (name, VANILLA)]
    tasks = dict.fromkeys(one.task for one in rows)
    told = {task: _by_k(rows, name, task) for task in tasks}
    return told | {ALL: _by_k([replace(one, task=ALL) for one in rows], name, ALL)}


def _by_k(rows: Sequence[Row], name: str, task: str) -> dict[str, Any]:
    figures = task_figures(rows, name, task, VANILLA).by_k
    left_out = {"k", "survival"}
    return {
        str(k): {key: value for key, value in asdict(one).items() if key not in left_out} for k, one in figures.items()
    }


if __name__ == "__main__":
    sys.exit(main())
