"""`python -m bench.overhead`: added latency, throughput and CPU of the router beside a direct call, interleaved."""

import asyncio
import contextlib
import os
import re
import tempfile
import urllib.request
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from bench.overhead.measure import INSTANT, PACED, Figures, Load, Target, measure
from bench.overhead.others import installed_vllm_router, vllm_router
from bench.overhead.report import DIRECT, account, summary, table
from bench.overhead.targets import alone, engines, simulated, with_ray
from bench.provenance import provenance
from engines.ports import free_port

_STAGE = re.compile(r'alpharoute_stage_seconds_(sum|count)\{[^}]*\bstage="(\w+)"[^}]*\} (\S+)')


def main(
    rounds: Annotated[int, typer.Option(help="Times each target is measured, in turn.")] = 5,
    seconds: Annotated[float, typer.Option(help="Of load at 32 connections, per round and target.")] = 3.0,
    ray: Annotated[bool, typer.Option(help="Also the whole service: Ray Serve, HAProxy, Redis.")] = False,
    replicas: Annotated[int, typer.Option(help="Router replicas of that service; two or more imply it.")] = 1,
    target: Annotated[list[str] | None, typer.Option(help="NAME=URL of another router over the same engines.")] = None,
    beside: Annotated[
        Path | None, typer.Option(help="The program vllm-router, to be measured too; default: the one on PATH.")
    ] = None,
    show_engines: Annotated[bool, typer.Option(help="Print the engines' URLs; wait for Enter.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything here.")] = None,
) -> None:
    """Measure what lies between a client and an engine."""
    began, load = provenance(), Load(seconds=seconds)
    with contextlib.ExitStack() as stack:
        urls = stack.enter_context(engines())
        if show_engines:
            input(f"Engines: {urls}. Start the other router over them, then press Enter. ")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alpharoute-bench-")))
        own = stack.enter_context(alone(urls, folder))
        targets = [Target(DIRECT, {INSTANT: urls["instant"], PACED: urls["paced"]}, beside=simulated()), own]
        if ray or replicas > 1:
            targets.append(stack.enter_context(with_ray(urls, folder, free_port(), replicas)))
        if other := beside or installed_vllm_router():
            targets.append(stack.enter_context(vllm_router(other, urls, folder)))
        for given in target or []:
            name, _, url = given.partition("=")
            targets.append(Target(name, {INSTANT: url, PACED: url}))
        found = summary(asyncio.run(_measured(targets, rounds, load)))
        found[own.name]["stages"] = stages = _stages(own.urls[INSTANT])
    cores = len(os.sched_getaffinity(0))
    Console(width=180).print(table(found), account(found, cores), f"Stages of the router, µs on average: {stages}")
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        ended = {"load_average": [round(one, 2) for one in os.getloadavg()]}
        result = {"provenance": began, "at_the_end": ended, "targets": found}
        json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))


async def _measured(targets: list[Target], rounds: int, load: Load) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {one.name: [] for one in targets}
    for at in range(rounds):
        # Another target goes first each time: what drifts in the machine falls on all alike.
        for one in targets[at % len(targets) :] + targets[: at % len(targets)]:
            found[one.name].append(await measure(one, load))
    return found


def _stages(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        found = {(stage, kind): float(figure) for kind, stage, figure in _STAGE.findall(answer.read().decode())}
    counted = [stage for stage, kind in found if kind == "count" and found[stage, kind]]
    return {stage: round(found[stage, "sum"] / found[stage, "count"] * 1e6, 1) for stage in counted}


if __name__ == "__main__":
    typer.run(main)
