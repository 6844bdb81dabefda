"""`python -m bench.soak --minutes 30 --clients 64`: load and faults together, and what must hold nevertheless."""

import asyncio
import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import psutil
import typer
from rich.console import Console
from rich.table import Table

from bench.provenance import provenance
from bench.soak.clients import Load
from bench.soak.faults import Faults
from bench.soak.stand import MODEL, Stand, stand
from bench.soak.verdict import Check, Sample, checks, codes, unexplained

SAMPLE_EVERY_S = 2.0
TOLD_EVERY_S = 15.0
QUIET_LIMIT_S = 20.0


def main(
    minutes: Annotated[float, typer.Option(help="Length of the load.")] = 30.0,
    clients: Annotated[int, typer.Option(help="Clients, each with one request at a time.")] = 64,
    routers: Annotated[int, typer.Option(help="Router replicas; one alone is never killed.")] = 2,
    engine_every: Annotated[float, typer.Option(help="Seconds from one killed engine to the next.")] = 60.0,
    redis_away: Annotated[float, typer.Option(help="Seconds for which Redis is away, twice.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Of clients and faults.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write everything here.")] = None,
) -> None:
    """Soak the service; ends with 1 where a claim does not hold."""
    began, console = provenance(), Console(width=120)
    with tempfile.TemporaryDirectory(prefix="alpharoute-soak-") as folder, stand(Path(folder), routers) as running:
        console.print(f"{running.url}: {clients} clients for {minutes:g} min")
        load = Load(running.url, MODEL, clients, seed)
        faults = Faults(running, minutes * 60, engine_every, redis_away, random.Random(seed))
        memory: list[Sample] = []
        start_s = time.monotonic()
        asyncio.run(_soak(running, load, faults, memory, start_s + minutes * 60, console))
        inside = _inside_when_quiet(running)
        lines = [line for engine in running.engines for line in engine.log.read_text().splitlines()]
        found = checks(load.ended, faults.done, lines, inside, memory)
    console.print(_table(found), f"Requests: {load.counts()}", f"Errors: {dict(codes(load.ended))}", sep="\n")
    if json is not None:
        result = {
            "provenance": began,
            "minutes": minutes,
            "clients": clients,
            "checks": [asdict(check) for check in found],
            "requests": load.counts(),
            "errors": codes(load.ended),
            "unexplained": [[round(one.at_s - start_s, 1), one.code] for one in unexplained(load.ended, faults.done)],
            "faults": [{**asdict(fault), "at_s": round(fault.at_s - start_s, 1)} for fault in faults.done],
            "memory_mib": [[sample.pid, round(sample.at_s - start_s, 1), round(sample.mib, 1)] for sample in memory],
        }
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    if not all(check.held for check in found):
        raise typer.Exit(1)


async def _soak(
    running: Stand, load: Load, faults: Faults, memory: list[Sample], until_s: float, console: Console
) -> None:
    beside = [
        asyncio.create_task(_sample(running, memory)),
        asyncio.create_task(_tell(console, load, faults, memory, until_s)),
    ]
    await asyncio.gather(load.run(until_s), faults.run())
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


async def _tell(console: Console, load: Load, faults: Faults, memory: list[Sample], until_s: float) -> None:
    """A line now and then for whoever watches."""
    while True:
        await asyncio.sleep(TOLD_EVERY_S)
        last = f"; last: {faults.done[-1].kind} ({faults.done[-1].subject})" if faults.done else ""
        rss = max((sample.mib for sample in memory[-8:]), default=0.0)
        left_s = max(0.0, until_s - time.monotonic())
        console.print(f"{left_s:5.0f} s left  {load.counts()} {dict(codes(load.ended))}  {rss:.0f} MiB{last}")


async def _sample(running: Stand, memory: list[Sample]) -> None:
    while True:
        for router in await asyncio.to_thread(running.routers):
            try:
                memory.append(Sample(router.pid, time.monotonic(), router.memory_info().rss / 2**20))
            except psutil.Error:
                continue  # killed a moment ago
        await asyncio.sleep(SAMPLE_EVERY_S)


def _inside_when_quiet(running: Stand) -> int:
    """Requests that engines still hold once there was time to hear that nobody waits for them."""
    deadline_s = time.monotonic() + QUIET_LIMIT_S
    while (inside := sum(engine.inside() for engine in running.engines)) and time.monotonic() < deadline_s:
        time.sleep(0.5)
    return inside


def _table(found: list[Check]) -> Table:
    table = Table("claim", "figure", "allowed", "held")
    for check in found:
        table.add_row(check.claim, f"{check.figure:g}", f"{check.allowed:g}", "yes" if check.held else "[red]no[/]")
    return table


if __name__ == "__main__":
    typer.run(main)
