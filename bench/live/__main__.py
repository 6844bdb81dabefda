"""`python -m bench.live`: adaptive routing beside always-vanilla and always-k=4, on real vLLM, same prompts."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.live.arms import BASELINES, OURS, Hit, baseline_urls, fire
from bench.live.plan import Shot, plan
from bench.live.report import summary, tables
from bench.provenance import provenance
from engines.demo.workload import load_workload
from router.acceptance_command import acceptance_table, read_acceptance
from router.cli import EngineChoice, build_demo, local_settings
from router.local import LocalService, free_port
from router.progress import StartProgress

console = Console(stderr=True)
ROUNDS, QUICK_ROUNDS = 12, 4
REPORT_WIDTH = 120


def main(
    rounds: Annotated[int | None, typer.Option(help=f"Prompts per task and temperature; {ROUNDS} unless set.")] = None,
    quick: Annotated[bool, typer.Option(help=f"{QUICK_ROUNDS} rounds.")] = False,
    temperatures: Annotated[str, typer.Option(help="Comma-separated.")] = "0,1",
    seed: Annotated[int, typer.Option(help="Order and choice of prompts.")] = 0,
    engine: Annotated[EngineChoice, typer.Option(help="Real vLLM, or the simulator.")] = EngineChoice.VLLM,
    label: Annotated[bool, typer.Option(help="Send the task as a header instead of classifying.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything here.")] = None,
    verbose: Annotated[bool, typer.Option(help="Print each of our decisions.")] = False,
) -> None:
    """Compare the arms on the demo pair and print them side by side."""
    count = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    shots = list(plan(load_workload(), count, [float(t) for t in temperatures.split(",")], seed))
    began = provenance()
    settings = local_settings(None, engine, None, None, free_port())
    build_demo(settings)
    with LocalService(settings) as service:
        with StartProgress(console) as progress:
            service.wait(progress.show)
        hits, before, after = asyncio.run(_run(service, shots, label=label, verbose=verbose))
    arms = [*BASELINES, OURS]
    out = Console(width=None if Console().is_terminal else REPORT_WIDTH)
    out.print(acceptance_table("Acceptance before", before), acceptance_table("Acceptance after", after))
    out.print(*tables(hits, arms))
    if json is not None:
        result = {"provenance": began, **summary(hits, arms), "acceptance": after}
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))


async def _run(
    service: LocalService, shots: list[Shot], *, label: bool, verbose: bool
) -> tuple[list[Hit], list[dict[str, Any]], list[dict[str, Any]]]:
    model, hits = service.settings.pools[0].model, []
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session,
        baseline_urls(service.settings, BASELINES) as urls,
    ):
        urls[OURS] = service.url
        before = read_acceptance(service.url)
        with _progress() as progress:
            bar = progress.add_task("requests", total=len(shots) * len(urls))
            for number, shot in enumerate(shots):
                # Another arm goes first each time: what drifts in the machine falls on all alike.
                names = sorted(urls)
                for arm in names[number % len(names) :] + names[: number % len(names)]:
                    hit = await fire(session, arm, urls[arm], model, shot, label=label)
                    hits.append(hit)
                    progress.advance(bar)
                    if verbose and arm == OURS:
                        _tell(hit)
        return hits, before, read_acceptance(service.url)


def _tell(hit: Hit) -> None:
    shot = hit.shot
    where = f"{hit.labelled:20} T={shot.temperature:g}  {hit.pool:8} k={hit.k}  {hit.decision:10}"
    console.print(
        f"round {shot.round:2}  {where} {hit.tokens:4} tokens  {hit.ms_per_token:6.1f} ms/token", highlight=False
    )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


if __name__ == "__main__":
    typer.run(main)
