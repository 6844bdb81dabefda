"""`python -m bench.methods`: every way to speculate that runs here, per task, by `alpharoute evaluate`.

Starts a vanilla engine of the demo pair and, one after another, an engine of each method beside it; each prompt is
asked once of each engine, for some drafters learn from answers. Writes a report per method and prints them as a table.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.correctness.methods import RUNS, missing
from bench.provenance import provenance
from engines.demo.build import DemoPair, build_demo_pair, default_folder
from engines.demo.progress import reporting
from engines.pool import PoolSettings
from engines.vllm_server import EngineServer

LIMITS = {"max_model_len": 512, "max_num_seqs": 8}
RESULTS = Path("bench/results/methods")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(arguments)
    if options.table:
        print(table(options.out))
        return 0
    with reporting() as progress:
        pair = build_demo_pair(default_folder(), progress=progress)
        drafters = {"draft_model": pair.draft}
        if {"medusa", "eagle"} & set(options.methods):
            from engines.demo.heads import build_demo_heads  # torch, only where it is used

            drafters |= build_demo_heads(pair, progress=progress)
    options.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(_measure(pair, drafters, options))
    print(table(options.out))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.methods", description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=tuple(RUNS), default=tuple(RUNS), metavar="METHOD")
    parser.add_argument("--per-task", type=int, default=12, help="prompts of each task (default: %(default)s)")
    parser.add_argument("--k", default="2,4", help="numbers of drafts (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.0, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the reports (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="print the table of the reports that are there")
    return parser


async def _measure(pair: DemoPair, drafters: Mapping[str, Path], options: argparse.Namespace) -> None:
    plain = PoolSettings.model_validate({"name": "vanilla", "target": str(pair.target), "vllm": LIMITS})
    async with EngineServer(plain) as vanilla:
        for number, name in enumerate(options.methods, 1):
            if (why := missing(name)) is not None:
                print(f"{name}: skipped, {why}", file=sys.stderr)
                continue
            print(f"{name} ({number} of {len(options.methods)}): the engine starts", file=sys.stderr)
            async with EngineServer(RUNS[name].pool("method", pair.target, drafters, LIMITS)) as engine:
                report = await asyncio.to_thread(_evaluate, engine, vanilla, options)
            report["provenance"], report["method"] = provenance(), name
            (options.out / f"{name}.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
            print(f"{name}: done", file=sys.stderr)


def _evaluate(engine: EngineServer, vanilla: EngineServer, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "router.cli", "evaluate", engine.url, "--vanilla", vanilla.url, "--once"]
    command += ["--rounds", "1", "--k", options.k, "--per-task", str(options.per_task), "--json"]
    command += ["--temperature", str(options.temperature)]
    env = os.environ | {"ALPHAROUTE_ENGINE_KEY": engine.api_key, "ALPHAROUTE_VANILLA_KEY": vanilla.api_key}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)  # its progress stays to be seen
    report: dict[str, Any] = orjson.loads(done.stdout)
    return report


def table(folder: Path) -> str:
    """Each task's tokens per step at the largest k, and time per token against vanilla at the best k, by method."""
    reports = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
    tasks = sorted({task for one in reports.values() for task in one["figures"]["drafter"]})
    lines = [["method", *tasks], ["---"] * (1 + len(tasks))]
    for name, one in reports.items():
        figures = one["figures"]["drafter"]
        lines.append([name, *(_cell(figures[task]["by_k"]) if task in figures else "–" for task in tasks)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(by_k: Mapping[str, Any]) -> str:
    deepest = by_k[max(by_k, key=int)]
    ratios = {k: one["ratio"] for k, one in by_k.items() if k != "0" and one["ratio"]}
    if not ratios or not deepest["length"]:
        return "–"
    best = min(ratios, key=lambda k: float(ratios[k]["value"]))
    return f"{deepest['length']['value']:.2f}, {ratios[best]['value']:.2f} (k = {best})"


if __name__ == "__main__":
    sys.exit(main())
