"""`python -m bench`: the benchmarks of the documentation, one after the other, on a machine without a GPU."""

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

OUT = Path("build/bench")
"""Not among the results that the repository holds: a run of one's own is compared with those."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command: what it answers, its module and options whole and quick, and which file of the results it writes.

    Unless asked for, it is no part of the quick run where `quickly` is False: another does the same at that size.
    """

    name: str
    question: str
    module: str
    options: str
    quick: str
    writes: str
    quickly: bool = True

    def command(self, out: Path, *, quick: bool) -> list[str]:
        """What to run."""
        options = shlex.split(self.quick if quick else self.options)
        return [sys.executable, "-m", self.module, *options, "--json", str(out / self.writes)]


LOADS = "--scenario load20 --scenario load50 --scenario load80"

STEPS = (
    Step(
        "live",
        "is it faster than always, never, or by a rule?",
        "bench.live",
        "--arms all --k-max 8 --rounds 6 --temperatures 0,0.7,1",
        "--arms 'always vanilla,always k=4,adaptive' --loads 1,4 --rounds 1",
        "live/cpu-demo-arms.json",
    ),
    Step(
        "loads",
        "and with others on the same engines?",
        "bench.live",
        "--arms 'always vanilla,always k=4,batch schedule,article threshold,adaptive,adaptive warm' --loads 4,110%"
        " --rounds 4 --temperatures 0,0.7,1",
        "--loads 4 --rounds 1 --temperatures 0",
        "live/cpu-demo-loads.json",
        quickly=False,
    ),
    Step(
        "collapse",
        "does it follow a drafter that turns bad, and back?",
        "bench.live",
        "--arms 'always vanilla,always k=4,adaptive' --workload collapse --rounds 54 --temperatures 0",
        "--arms adaptive --workload collapse --rounds 3 --temperatures 0",
        "live/cpu-demo-collapse.json",
    ),
    Step(
        "correctness",
        "are answers unchanged?",
        "bench.correctness",
        "--methods draft_model --prompts 200 --samples 5000",
        "--methods draft_model --prompts 40 --samples 1000",
        "correctness/rerun.json",
    ),
    Step(
        "methods",
        "which way to speculate?",
        "bench.methods",
        "--per-task 6",
        "--per-task 2 --methods draft_model ngram",
        "methods/cpu-demo.json",
    ),
    Step(
        "overhead",
        "what does the router cost?",
        "bench.overhead",
        "--ray",
        "--rounds 1 --seconds 2",
        "overhead/one.json",
    ),
    Step(
        "policy",
        "are its decisions good, over loads?",
        "bench.policy",
        f"--calibration cpu-demo --calibration h100-8b-eagle {LOADS} --requests 1500 --seed 401 --seeds 3"
        " --policy adaptive --policy article_threshold",
        f"--calibration cpu-demo {LOADS} --requests 300 --seeds 1 --policy adaptive",
        "policy/rerun.json",
    ),
    Step("scale", "how far does it scale?", "bench.scale", "", "--exchanges 5", "scale/one-router.json"),
    Step(
        "soak",
        "does it lose requests when things die?",
        "bench.soak",
        "--minutes 3 --engine-every 30 --redis-away 20",
        "--minutes 0.5 --clients 8 --engine-every 10 --redis-away 4",
        "soak/rerun.json",
    ),
)
BY_NAME = {step.name: step for step in STEPS}

console = Console(stderr=True)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: that it runs, not what it says.")] = False,
    only: Annotated[str | None, typer.Option(help=f"Comma-separated, of {', '.join(BY_NAME)}.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands and end.")] = False,
) -> None:
    """Run the benchmarks in turn, for each other's load would spoil them; exit code 1 where one of them failed."""
    steps = _steps(only) if only else [step for step in STEPS if step.quickly or not quick]
    if dry_run:
        for step in steps:
            print(shlex.join(["python", *step.command(out, quick=quick)[1:]]))
        return
    table = Table("benchmark", "question", "minutes", "ended", Column("results", overflow="fold"), title="Benchmarks")
    failed = False
    for number, step in enumerate(steps, 1):
        console.rule(f"{number}/{len(steps)} {step.name}: {step.question}")
        (out / step.writes).parent.mkdir(parents=True, exist_ok=True)
        began_s = time.monotonic()
        code = subprocess.run(step.command(out, quick=quick), check=False).returncode
        minutes = (time.monotonic() - began_s) / 60
        failed |= code != 0
        ended = "well" if code == 0 else f"[red]exit code {code}[/]"
        table.add_row(step.name, step.question, f"{minutes:.1f}", ended, str(out / step.writes))
    Console().print(table)
    raise typer.Exit(int(failed))


def _steps(names: str) -> Sequence[Step]:
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in BY_NAME]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(BY_NAME)}", param_hint="--only")
    return [step for step in STEPS if step.name in wanted]


if __name__ == "__main__":
    typer.run(main)
