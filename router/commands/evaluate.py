"""`alpharoute evaluate`: what a drafter is worth per task, measured on a live engine."""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from engines.engine_client import EngineClient, MeasurementError
from engines.evaluation import Plan, Prompt, Sample, Target, run
from engines.evaluation_figures import Change, Row, change, row, task_figures
from engines.http import engine_session
from router.commands.calibrate import key_for, numbers
from router.commands.client import stdout
from router.commands.evaluation_report import Report, draw, earlier, markdown, stale, tables
from router.commands.evaluation_store import Identity, find_engine, store_samples
from router.config.check import ENGINE_KEY, OTHER_KEY, VANILLA_KEY
from router.config.load import load_settings
from router.config.masking import masked_command
from router.errors import SetupError
from router.evaluation import fingerprint
from router.probe_prompts import probe_prompts

FIRST, SECOND, VANILLA = "drafter", "other", "vanilla"
CHANGED, UNUSABLE = 1, 2
stderr = Console(stderr=True)

EngineArgument = Annotated[
    str, typer.Argument(help="An engine's URL, or the name of a pool or replica of the service in --config.")
]
KeyOption = Annotated[str | None, typer.Option(envvar=ENGINE_KEY, help="The engine's key.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """The engines to evaluate: where, with which key, and (None: not known) as what their answers may be stored."""

    urls: Mapping[str, tuple[str, str | None]]
    model: str | None
    identity: Identity | None


def evaluate(
    engine: EngineArgument,
    other: Annotated[str | None, typer.Argument(help="A second engine, with another drafter.")] = None,
    prompts: Annotated[str, typer.Option(help='"demo", "own", or JSON lines of {"task", "prompt"}.')] = "auto",
    per_task: Annotated[int, typer.Option(min=1, help="Prompts of each task.")] = 8,
    k: Annotated[str, typer.Option(help="Numbers of drafts; 0 is what times are compared with.")] = "0,1,2,4",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 2,
    once: Annotated[
        bool, typer.Option(help="Ask no engine the same twice: for drafters that learn from answers; needs --vanilla.")
    ] = False,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="Temperature.")] = 0.0,
    tokens: Annotated[int, typer.Option(min=8, help="Longest answer.")] = 160,
    model: Annotated[str | None, typer.Option(help="The served model; default: the first it lists.")] = None,
    api_key: KeyOption = None,
    other_api_key: Annotated[str | None, typer.Option(envvar=OTHER_KEY, help="The second's.")] = None,
    vanilla: Annotated[str | None, typer.Option(help="An engine without a drafter, to compare times with.")] = None,
    vanilla_api_key: Annotated[str | None, typer.Option(envvar=VANILLA_KEY, help="Its key.")] = None,
    completions: Annotated[bool, typer.Option(help="Ask as /v1/completions: a model without chat template.")] = False,
    compare: Annotated[Path | None, typer.Option(help="An earlier --json report: what has changed since?")] = None,
    store: Annotated[bool, typer.Option(help="Write what was accepted into the service's acceptance store.")] = False,
    target: Annotated[str | None, typer.Option(help="With --store and a URL: the pool's target.")] = None,
    drafter: Annotated[str | None, typer.Option(help="The same: its drafter.")] = None,
    method: Annotated[str | None, typer.Option(help="The same: its method.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings of the service.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write it as Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot (.png, .svg, .pdf).")] = None,
) -> None:
    """Measure acceptance, survival and time per token for each task at each k, and say where to speculate.

    Ends with 0; 1 where acceptance fell against --compare or the second engine; 2 where nothing could be measured.
    """
    try:
        ks = numbers(k, "--k")
        if max(ks) < 1 or (other is not None and compare is not None):
            raise SetupError("--k needs a k above 0; --compare and a second engine exclude each other")
        if once and (vanilla is None or rounds > 1):
            raise SetupError("--once needs --vanilla, for times to be compared with, and --rounds 1")
        before = earlier(compare) if compare is not None else None
        named = [one for one in (engine, other, vanilla) if one and not one.startswith(("http://", "https://"))]
        keys = {
            one: key_for(one, own, engine, api_key)
            for one, own in ((engine, api_key), (other, other_api_key), (vanilla, vanilla_api_key))
            if one
        }
        beats = {one: asyncio.run(find_engine(load_settings(config), one)) for one in named}
        places = {FIRST: engine} | ({SECOND: other} if other else {}) | ({VANILLA: vanilla} if vanilla else {})
        urls = {
            name: (beats[one].url, beats[one].api_key) if one in beats else (one, keys[one])
            for name, one in places.items()
        }
        identity = Identity.of(beats[engine]) if engine in beats else Identity.named(model, target, drafter, method)
        if store and identity is None:
            raise SetupError("--store with a URL needs --model, --target and --method (and --drafter), as the pool's")
        found = asyncio.run(
            _measured(
                Asked(urls, model, identity),
                Choice(prompts, per_task, tokens),
                Plan((), ks, rounds, temperature, not completions, once),
            )
        )
        told = _report(found, before, compare)
        if store and identity is not None:
            stored = asyncio.run(store_samples(load_settings(config), identity, found.samples, max(ks), temperature))
            stderr.print(f"{stored} answers were written into the acceptance store.", highlight=False)
        _tell(told, as_json, report, plot)
    except (SetupError, MeasurementError) as error:
        stderr.print(Text(str(error), style="red"), soft_wrap=True)
        raise typer.Exit(UNUSABLE) from None
    if any(one.verdict == "fell" for one in told.changes.values()):
        raise typer.Exit(CHANGED)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which prompts, how many of each task, and the longest answer to each."""

    which: str
    per_task: int
    tokens: int

    def of(self, model: str) -> tuple[Prompt, ...]:
        """The prompts for an engine of that model."""
        found = probe_prompts(self.which, model)
        return tuple(
            Prompt(task, text, self.tokens) for task, texts in found.items() for text in texts[: self.per_task]
        )


@dataclass(frozen=True, slots=True)
class Found:
    """All answers of the first, the second and the vanilla engine, and what was asked."""

    head: Mapping[str, Any]
    samples: Sequence[Sample]

    @property
    def rows(self) -> list[Row]:
        """The sums of every answer."""
        return [row(s.engine, s.task, s.prompt, s.k, s.round, s.metrics) for s in self.samples]


async def _measured(asked: Asked, choice: Choice, plan: Plan) -> Found:
    async with engine_session() as session:
        targets = [
            Target(name, await EngineClient.opened(session, url, asked.model, key), name == VANILLA)
            for name, (url, key) in asked.urls.items()
        ]
        texts = choice.of(targets[0].client.model)
        with _bar() as done:
            samples = await run(replace(plan, prompts=texts), targets, done)
    head = {
        "command": masked_command(["alpharoute", *sys.argv[1:]]),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "engines": [{"name": one.name, "url": one.client.url, "model": one.client.model} for one in targets],
        "identity": None if asked.identity is None else asdict(asked.identity),
        "prompts": len(texts),
        "prompts_fingerprint": fingerprint(one.text for one in texts),
        "ks": plan.ks,
        "once": plan.once,
        "rounds": plan.rounds,
        "temperature": plan.temperature,
    }
    return Found(head, samples)


def _report(found: Found, before: tuple[Mapping[str, Any], list[Row]] | None, compared: Path | None) -> Report:
    rows = found.rows
    names = [name for name in (FIRST, SECOND) if any(one.engine == name for one in rows)]
    tasks = list(dict.fromkeys(one.task for one in rows))
    plain = VANILLA if any(one.engine == VANILLA for one in rows) else None
    figures = {name: {task: task_figures(rows, name, task, plain or name) for task in tasks} for name in names}
    mine, theirs, against = [one for one in rows if one.engine == FIRST], list[Row](), ""
    if SECOND in names:
        theirs, against = [one for one in rows if one.engine == SECOND], "the second engine"
    elif before is not None:
        theirs, against = before[1], f"{compared} of {before[0]['at']}"
        for what in ("prompts_fingerprint", "temperature"):
            if before[0][what] != found.head[what]:
                raise SetupError(
                    f"--compare {str(compared)!r}: {what} is {before[0][what]!r}, now {found.head[what]!r}"
                )
    changes: dict[str, Change] = {}
    for task in tasks:
        if (changed := change(mine, theirs, task)) is not None:
            changes[task] = changed
    return Report(found.head, rows, figures, changes, against)


def _tell(told: Report, as_json: bool, report: Path | None, plot: Path | None) -> None:
    if report is not None:
        try:
            report.write_text(markdown(told), encoding="utf-8")
        except OSError as error:
            raise SetupError(f"--report {str(report)!r}: {error.strerror}") from None
    if plot is not None:
        draw(told, plot)
    if as_json:
        sys.stdout.write(told.as_json().decode() + "\n")
        return
    for table in tables(told):
        stdout.print(table)
    if told.changes:
        stdout.print(stale(told.changes), highlight=False)


@contextmanager
def _bar() -> Iterator[Any]:
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda count, total: progress.update(task, completed=count, total=total)
