"""`python -m bench.live`: adaptive routing beside what teams do without it, on real vLLM, same prompts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Annotated

import aiohttp
import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.live.arms import ARMS, OURS, STANDARD, VANILLA, WORN, Arm, Drafter, Hit, fire, probes, routers
from bench.live.load import CAPACITY_CLIENTS, Load, Send, blocks, closed_loop, poisson
from bench.live.plan import Shot, Workload, plan, without
from bench.live.report import Session, summary, tables
from bench.provenance import provenance
from engines.demo.build import build_demo_pair, default_folder
from engines.demo.workload import ExampleRequest, load_workload
from engines.ports import free_port
from router.cli import EngineChoice, build_demo, local_settings
from router.commands.acceptance import acceptance_table, read_acceptance
from router.config.settings import Settings
from router.errors import SetupError
from router.local.progress import StartProgress
from router.local.service import LocalService
from router.probe_prompts import AUTO, DEMO, probe_prompts

console = Console(stderr=True)
ROUNDS, QUICK_ROUNDS = 12, 4
WARM_ROUNDS = 6
SWAP_S = 2.0
"""Longer than routers take to read an engine's new address from the registry."""
WORKLOADS = (
    "All tasks all the time; half of them and then the others; or a drafter that turns bad for a third of the time."
)
REPORT_WIDTH = 120


def main(
    rounds: Annotated[int | None, typer.Option(help=f"Prompts per task and temperature; {ROUNDS} unless set.")] = None,
    quick: Annotated[bool, typer.Option(help=f"{QUICK_ROUNDS} rounds.")] = False,
    arms: Annotated[str, typer.Option(help="Comma-separated names of arms, or 'all'.")] = ",".join(STANDARD),
    loads: Annotated[str, typer.Option(help="Clients (1,4), shares of vanilla's capacity (80%), or both.")] = "1",
    temperatures: Annotated[str, typer.Option(help="Comma-separated.")] = "0,1",
    workload: Annotated[Workload, typer.Option(help=WORKLOADS)] = Workload.MIX,
    seed: Annotated[int, typer.Option(help="Order and choice of prompts, arrival times.")] = 0,
    engine: Annotated[EngineChoice, typer.Option(help="Real vLLM, or the simulator.")] = EngineChoice.VLLM,
    model: Annotated[str | None, typer.Option(help="Your own model in place of the demo pair.")] = None,
    draft: Annotated[str | None, typer.Option(help="Its drafter; n-gram speculation unless set.")] = None,
    k_max: Annotated[int, typer.Option(help="Most drafts per step that the speculative pool allows.")] = 4,
    prompts: Annotated[str, typer.Option(help='"demo", "own", or JSON lines of {"task", "prompt"}.')] = AUTO,
    max_tokens: Annotated[int, typer.Option(help="Longest answer to prompts that are not the demo's.")] = 256,
    json: Annotated[Path | None, typer.Option(help="Write everything here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this folder.")] = None,
    verbose: Annotated[bool, typer.Option(help="Print each of our decisions.")] = False,
) -> None:
    """Compare the arms on the demo pair, or on your own, at each load and print them side by side."""
    count = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    degrees = [float(t) for t in temperatures.split(",")]
    chosen, wanted = _arms(arms, k_max), _loads(loads)
    engines = 1 if all(load.alone for load in wanted) else 2
    began, settings = provenance(), _settings(engine, model, draft, engines, k_max)
    examples = _examples(prompts, settings.pools[0].model, max_tokens)
    shots = list(plan(examples, count, degrees, seed, workload))
    build_demo(settings)
    with TemporaryDirectory(prefix="ar-worn-") as folder, LocalService(_served(settings, workload, folder)) as service:
        with StartProgress(console) as progress:
            service.wait(progress.show)
        arms_of = service.settings.model_copy(update={"pools": settings.pools})
        bench = Bench(arms_of, chosen, examples, shots, engines, seed, verbose)
        measured = asyncio.run(probes(service.settings))
        sessions, acceptance = asyncio.run(bench.run(wanted))
    out = Console(width=None if Console().is_terminal else REPORT_WIDTH)
    if acceptance:
        out.print(acceptance_table("Acceptance learnt", acceptance))
    for session in sessions:
        out.print(*tables(session, list(chosen)))
    if json is not None:
        found = summary(sessions, list(chosen), workload)
        json.parent.mkdir(parents=True, exist_ok=True)
        result = {"provenance": {**began, "ended": provenance()}, **found, "acceptance": acceptance, "probes": measured}
        # Weights are named by where they lie, which is below somebody's home.
        json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2).replace(bytes(Path.home()), b"~"))
    if plot is not None:
        from bench.live.plot import draw

        for file in draw(sessions, list(chosen), plot, workload):
            console.print(str(file), highlight=False)


def _arms(names: str, k_max: int) -> dict[str, Arm]:
    able = [name for name, arm in ARMS.items() if arm.k <= k_max]
    wanted = able if names == "all" else [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in able]:
        message = f"{unknown[0]!r} is none of {', '.join(able)}, which --k-max {k_max} allows"
        raise typer.BadParameter(message, param_hint="--arms")
    return {name: ARMS[name] for name in wanted}


def _loads(texts: str) -> list[Load]:
    try:
        return [Load.parse(text.strip()) for text in texts.split(",")]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--loads") from None


def _examples(prompts: str, model: str, max_tokens: int) -> Sequence[ExampleRequest]:
    if prompts in (AUTO, DEMO) and model == DEMO:
        return load_workload()
    try:
        found = probe_prompts(prompts, model)
    except SetupError as error:
        raise typer.BadParameter(str(error), param_hint="--prompts") from None
    return [ExampleRequest(task, text, max_tokens) for task, texts in found.items() for text in texts]


def _settings(engine: EngineChoice, model: str | None, draft: str | None, engines: int, k_max: int) -> Settings:
    try:
        settings = local_settings(None, engine, model, draft, free_port())
    except SetupError as error:
        raise typer.BadParameter(str(error), param_hint="--draft") from None
    pools = tuple(
        pool.model_copy(update={"replicas": engines, "k_max": k_max if pool.k_max else 0}) for pool in settings.pools
    )
    return settings.model_copy(update={"pools": pools})


def _served(settings: Settings, workload: Workload, folder: str) -> Settings:
    """The pools of the arms, and the one with the worn drafter where the workload needs it."""
    if workload is not Workload.COLLAPSE:
        return settings
    draft = next(pool for pool in settings.pools if pool.k_max)
    if draft.engine == "vllm" and draft.model == DEMO:
        from bench.live.worn import worn_copy

        drafter = str(worn_copy(build_demo_pair(default_folder()).draft, Path(folder)))
    else:
        raise typer.BadParameter("needs the demo pair on real vLLM: it wears its weights", param_hint="--workload")
    worn = draft.model_copy(update={"name": WORN, "drafter": drafter})
    return settings.model_copy(update={"pools": (*settings.pools, worn)})


@dataclass(frozen=True, slots=True)
class Bench:
    """The arms take turns over the same shots, at one load after the other."""

    settings: Settings
    arms: dict[str, Arm]
    examples: Sequence[ExampleRequest]
    shots: list[Shot]
    engines: int
    seed: int
    verbose: bool

    async def run(self, loads: Sequence[Load]) -> tuple[list[Session], list[dict[str, object]]]:
        """A session per load, and the acceptance that ours learnt in the last of them."""
        sessions: list[Session] = []
        acceptance: list[dict[str, object]] = []
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=600), connector=aiohttp.TCPConnector(limit=0)
        ) as http:
            capacity = await self._capacity(http) if any(load.share for load in loads) else 0.0
            for load in loads:
                drafter = Drafter()
                chosen = list(self.arms.values())
                async with routers(self.settings, chosen, self.engines, drafter, alone=load.alone) as urls:
                    await self._warm_up(http, urls)
                    sessions.append(await self._session(http, urls, load, capacity, drafter))
                    if OURS in urls:
                        acceptance = await asyncio.to_thread(read_acceptance, urls[OURS])
        return sessions, acceptance

    async def _warm_up(self, http: aiohttp.ClientSession, urls: dict[str, str]) -> None:
        """Other prompts of the same tasks for the arms that are to know them; what they take is not recorded."""
        unsent = without(self.examples, {shot.prompt for shot in self.shots})
        others = list(plan(unsent, WARM_ROUNDS, sorted({s.temperature for s in self.shots}), self.seed + 1))
        for name, arm in self.arms.items():
            if arm.warm:
                await closed_loop(others, 1, self._sender(http, arm, urls[name], 0, [], lambda: None))

    async def _session(
        self, http: aiohttp.ClientSession, urls: dict[str, str], load: Load, capacity: float, drafter: Drafter
    ) -> Session:
        pieces, names = blocks(self.shots, load), list(self.arms)
        hits: list[Hit] = []
        seconds = dict.fromkeys(names, 0.0)
        with _progress() as progress:
            bar = progress.add_task(str(load), total=len(self.shots) * len(names))
            for number, piece in enumerate(pieces):
                if piece[0].worn != drafter.worn:
                    drafter.worn = piece[0].worn
                    await asyncio.sleep(SWAP_S)
                # Another arm goes first each time: what drifts in the machine falls on all alike.
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    began_s = time.perf_counter()
                    send = self._sender(http, self.arms[name], urls[name], number, hits, lambda: progress.advance(bar))
                    if load.clients:
                        await closed_loop(piece, load.clients, send)
                    else:
                        await poisson(piece, load.share * capacity, self.seed + number, send)
                    seconds[name] += time.perf_counter() - began_s
        return Session(str(load), hits, seconds)

    def _sender(
        self,
        http: aiohttp.ClientSession,
        arm: Arm,
        url: str,
        block: int,
        hits: list[Hit],
        advance: Callable[[], None],
    ) -> Send:
        model = self.settings.pools[0].model

        async def send(shot: Shot) -> None:
            hit = await fire(http, arm, url, model, shot, block)
            hits.append(hit)
            advance()
            if self.verbose and arm.name == OURS:
                _tell(hit)

        return send

    async def _capacity(self, http: aiohttp.ClientSession) -> float:
        """Requests per second that always-vanilla serves with every place taken."""
        async with routers(self.settings, [ARMS[VANILLA]], self.engines, Drafter(), alone=False) as urls:
            hits: list[Hit] = []
            send = self._sender(http, ARMS[VANILLA], urls[VANILLA], 0, hits, lambda: None)
            await closed_loop(blocks(self.shots, Load(CAPACITY_CLIENTS))[0], CAPACITY_CLIENTS, send)
        # By Little's law, so that the end, where clients leave one by one, does not count as idleness.
        found = CAPACITY_CLIENTS / fmean(hit.elapsed_ms / 1000 for hit in hits)
        console.print(f"always vanilla serves {found:.2f} requests/s at {CAPACITY_CLIENTS} clients")
        return found


def _tell(hit: Hit) -> None:
    shot = hit.shot
    where = f"{hit.labelled:20} T={shot.temperature:g}  {hit.pool:8} k={hit.k}  {hit.decision:10}"
    console.print(
        f"round {shot.round:2}  {where} {hit.tokens:4} tokens  {hit.ms_per_token:6.1f} ms/token",
        highlight=False,
        soft_wrap=True,
    )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


if __name__ == "__main__":
    typer.run(main)
