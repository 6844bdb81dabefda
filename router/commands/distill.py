"""`alpharoute distill`: pairs of prompts and the target's answers, to train a drafter on."""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.text import Text

from engines.progress import Report, reporting, silent
from router.commands.client import DEFAULT_URL, REFUSED, UNUSABLE, JsonOption, KeyOption, UrlOption, print_json
from router.config.load import load_settings
from router.errors import SetupError

app = typer.Typer(no_args_is_help=True, help=__doc__)

FAILURES = 5
"""Answers in a row that must fail before the service is taken to be away."""

ASKED = ("messages", "prompt", "tools")
"""What is asked again of a kept prompt."""

LIMIT = aiohttp.ClientTimeout(total=600)


@app.callback()
def _group() -> None:
    """Pairs of prompts and the target's answers, to train a drafter on."""


@dataclass(frozen=True, slots=True)
class Collecting:
    """What to collect: `tasks` empty takes all; `count` pairs at most, so many at a time."""

    tasks: frozenset[str]
    count: int
    max_tokens: int
    temperature: float
    at_once: int
    model: str | None = None


@dataclass(slots=True)
class Collected:
    """What came of it."""

    written: int = 0
    known: int = 0
    failed: int = 0
    reasons: set[str] = field(default_factory=set)


@app.command("collect")
def collect(
    prompts: Annotated[
        Path | None, typer.Option(help="The file of kept prompts; distillation.prompts of the settings unless given.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file of settings.")] = None,
    out: Annotated[Path, typer.Option(help="The set to write, or to add to.")] = Path("distillation.jsonl"),
    tasks: Annotated[str, typer.Option(help="Tasks to take, separated by commas; all unless given.")] = "",
    count: Annotated[int, typer.Option(min=1, help="Pairs at most.")] = 10_000,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0, help="Of the target's answers.")] = 0.0,
    at_once: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 4,
    model: Annotated[str | None, typer.Option(help="The model to ask; as the prompt was sent unless given.")] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask the target as it is now, without speculation, for answers to kept prompts, and write the pairs.

    What is in the file already is not asked again, so that a collection may be taken up where it ended. Ends with 0; 1
    where some prompts got no answer; 2 where nobody could be asked.
    """
    wanted = frozenset(task.strip() for task in tasks.split(",") if task.strip())
    plan = Collecting(wanted, count, max_tokens, temperature, at_once, model)
    console = Console(stderr=True)
    try:
        file = prompts or load_settings(config).distillation.prompts
        if file is None:
            raise SetupError("No prompts are kept: set distillation.prompts and let requests come, or give --prompts.")
        lines = list(read_prompts(file, wanted))
        if not lines:
            named = f" of {', '.join(sorted(wanted))}" if wanted else ""
            raise SetupError(f"--prompts {str(file)!r} holds no prompts{named} yet.")
        with reporting(of="distill collect") as progress:
            found = asyncio.run(collected(lines, out, plan, url, key, progress))
    except SetupError as error:
        console.print(Text(str(error), style="red"), soft_wrap=True)
        raise typer.Exit(UNUSABLE) from None
    if as_json:
        print_json({"out": str(out), **asdict(found), "reasons": sorted(found.reasons)})
    console.print(Text(told(found, out)), soft_wrap=True)
    if found.failed:
        raise typer.Exit(REFUSED)


def told(found: Collected, out: Path) -> str:
    """What came of it in a line, and what to do where something failed."""
    said = f"{out}: {found.written} pairs written, {found.known} were there, {found.failed} failed"
    if not found.failed:
        return said
    return f"{said} ({'; '.join(sorted(found.reasons)[:3])}). The same command again asks only for what is missing."


def read_prompts(path: Path, tasks: frozenset[str]) -> Iterator[dict[str, Any]]:
    """The kept prompts of these tasks (none: all), each once; `NAME.1` before `NAME`. SetupError names a bad line."""
    seen: set[str] = set()
    files = [file for file in (path.with_name(f"{path.name}.1"), path) if file.is_file()]
    if not files:
        raise SetupError(f"--prompts {str(path)!r} is not a file: set distillation.prompts, and let requests come")
    for file in files:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"--prompts {str(file)!r} cannot be read: {error}") from None
        for number, line in enumerate(text.splitlines(), start=1):
            prompt = _decoded(file, number, line)
            if (not tasks or prompt["task"] in tasks) and (name := name_of(prompt)) not in seen:
                seen.add(name)
                yield prompt


def _decoded(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        prompt = json.loads(line)
        if (
            isinstance(prompt["task"], str)
            and isinstance(prompt["model"], str)
            and ("messages" in prompt) != ("prompt" in prompt)
        ):
            return dict(prompt)
    except (ValueError, KeyError, TypeError):
        pass
    raise SetupError(f"{file} line {number} is no kept prompt: task, model, and messages or prompt")


def name_of(prompt: Mapping[str, Any]) -> str:
    """What tells two prompts apart: their text, not the task they were taken for."""
    asked = {name: prompt[name] for name in ASKED if name in prompt}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


async def collected(
    prompts: list[dict[str, Any]], out: Path, plan: Collecting, url: str, key: str, progress: Report = silent
) -> Collected:
    """Ask for every prompt that `out` does not hold yet and append the pairs, as they come. SetupError where the
    service is away or the file cannot be written."""
    found, known = Collected(), _known(out)
    missing = [prompt for prompt in prompts if name_of(prompt) not in known]
    found.known = len(prompts) - len(missing)
    todo = missing[: plan.count]
    waiting = iter(todo)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    in_a_row = 0
    try:
        file = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise SetupError(f"--out {str(out)!r} cannot be written: {error.strerror}") from None

    def advance() -> None:
        progress("asking", found.written + found.failed, len(todo))

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal in_a_row
        for prompt in waiting:
            try:
                pair = await _answered(session, url, prompt, plan)
            except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
                found.failed, in_a_row = found.failed + 1, in_a_row + 1
                found.reasons.add(str(error) or type(error).__name__)
                if in_a_row >= FAILURES:
                    raise SetupError(f"{url} failed {in_a_row} times in a row, the last time: {error}") from None
            else:
                os.write(file, (json.dumps(pair) + "\n").encode())
                found.written, in_a_row = found.written + 1, 0
            advance()

    advance()
    try:
        async with aiohttp.ClientSession(timeout=LIMIT, headers=headers) as session, asyncio.TaskGroup() as group:
            for _ in range(plan.at_once):
                group.create_task(work(session))
    except ExceptionGroup as errors:  # not except*: Python 3.11.2 wraps anew what that raises
        if failed := errors.subgroup(SetupError):
            raise failed.exceptions[0] from None
        raise
    finally:
        os.close(file)
    return found


async def _answered(
    session: aiohttp.ClientSession, url: str, prompt: dict[str, Any], plan: Collecting
) -> dict[str, Any]:
    chat = "messages" in prompt
    asked: dict[str, Any] = {name: prompt[name] for name in ASKED if name in prompt}
    body: dict[str, Any] = {**asked, "model": plan.model or prompt["model"], "max_tokens": plan.max_tokens}
    # Speculation off: the pairs are the target's own words, whatever drafts beside it.
    headers = {
        "x-alpharoute-speculation": "off",
        "x-alpharoute-task": prompt["task"],
        "x-alpharoute-feedback": "off",
    }
    path = "/v1/chat/completions" if chat else "/v1/completions"
    async with session.post(
        f"{url.rstrip('/')}{path}", json={**body, "temperature": plan.temperature}, headers=headers
    ) as answer:
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {(await answer.text())[:200]}")
        choice = (await answer.json())["choices"][0]
    pair = {"id": name_of(prompt), "task": prompt["task"], "model": body["model"]}
    if chat:
        said = {name: value for name, value in choice["message"].items() if value is not None}
        return {**pair, **asked, "messages": [*prompt["messages"], said], "finish_reason": choice["finish_reason"]}
    return {**pair, **asked, "completion": choice["text"], "finish_reason": choice["finish_reason"]}


def _known(out: Path) -> set[str]:
    if not out.is_file():
        return set()
    try:
        return {json.loads(line)["id"] for line in out.read_text().splitlines()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"--out {str(out)!r} is there and holds no pairs ({error}): choose another file") from None
