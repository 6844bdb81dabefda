"""`alpharoute policy`: write, check, try and put in force routing policies of a running service."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from policies.document import Document
from policies.errors import Problem
from policies.steering_diff import differences
from policies.warnings import warnings_of
from router.commands.client import (
    DEFAULT_URL,
    OK,
    REFUSED,
    Client,
    JsonOption,
    KeyOption,
    Refused,
    Row,
    Unreachable,
    UrlOption,
    WhyOption,
    complain,
    moment,
    print_json,
    problem_line,
    stdout,
    talking,
    tell,
    warn,
)
from router.commands.policy_steps import (
    VersionArgument,
    activate,
    canary,
    history,
    rollback,
    shadow,
    status,
    stop,
    version_of,
)
from router.commands.policy_tables import changes_table, comparison_table
from router.config.check import SERVICE_URL
from router.errors import SetupError
from router.steering.errors import Invalid
from router.steering.reading import decoded, read, validate

app = typer.Typer(no_args_is_help=True, help="Routing policies: write, check, try and put in force.")

WHOLE = "(document)"

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON; - reads standard input.")]


@app.command("validate")
def validate_file(
    file: FileArgument,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar=SERVICE_URL,
            help="A service whose tasks, pools, models and segments it should name; optional.",
        ),
    ] = "",
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Check a policy, without any service unless --url names one; exit code 1 where something is wrong with it."""
    with talking(as_json):
        text = _text(file)
    problems = [_row(one) for one in validate(text)]
    warnings = [] if problems else _warnings(text, url, key)
    if as_json:
        print_json({"valid": not problems, "problems": problems, "warnings": warnings})
    else:
        for row in problems:
            complain(problem_line(row))
        if not problems:
            tell(f"{file} is valid.")
        warn(warnings)
    raise typer.Exit(REFUSED if problems else OK)


def _warnings(text: str, url: str, key: str) -> list[Row]:
    """What looks like a slip in it, by the service's tasks, pools, models and segments too where one is named; where it
    cannot be asked that is said, and nothing else is wrong with it."""
    if not url:
        return [_row(one) for one in warnings_of(read(text))]
    try:
        found: list[Row] = Client(url, key).post("/policies/validate", {"text": text})["warnings"]
    except (Unreachable, Refused, KeyError) as error:
        complain(f"Its names of tasks, pools, models and segments were not checked: {error}")
        return [_row(one) for one in warnings_of(read(text))]
    return found


def _row(one: Problem) -> Row:
    return {name: getattr(one, name) for name in ("path", "value", "message", "allowed", "nearest")}


@app.command()
def schema() -> None:
    """Print the JSON Schema of a policy, for an editor (`# yaml-language-server: $schema=FILE`)."""
    print_json(Document.model_json_schema())


@app.command("list")
def list_versions(url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """List every version and what is in force."""
    with talking(as_json):
        found = Client(url, key).get("/policies")
    if as_json:
        print_json(found)
        return
    table = Table("version", "state", "edited by", "at", "why", "activated", title="Policies")
    for one in found["versions"]:
        style = {"active": "bold green", "canary": "yellow", "shadow": "cyan"}.get(one["state"], "")
        name = f"{one['version']}" + (" (settings or file)" if one["version"] == 0 else "")
        cells = (name, one["state"], one["by"] or "–", moment(one["at_s"]), one["why"], moment(one["activated_s"]))
        table.add_row(*(Text(cell) for cell in cells), style=style)
    stdout.print(table)


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="A number, or 'active'.")] = "active",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print a version's document as it was written, or as YAML."""
    with talking(as_json):
        found = Client(url, key).get(f"/policies/{version_of(version)}")
    if as_json:
        print_json(found)
        return
    text = found["text"] or _yaml(found["document"])
    head = f"# version {found['version']} ({found['state']}), etag {found['etag']}"
    who = f"# {found['by'] or 'nobody'}, {moment(found['at_s'])}: {found['why'] or '(no reason given)'}"
    if stdout.is_terminal:
        stdout.print(Syntax(f"{head}\n{who}\n{text}", "yaml", background_color="default"))
    else:
        sys.stdout.write(f"{head}\n{who}\n{text.rstrip()}\n")


@app.command()
def draft(
    file: FileArgument,
    version: Annotated[str | None, typer.Option("--version", help="Change this draft in place of a new one.")] = None,
    if_match: Annotated[str, typer.Option(help="Only where the draft is still at this ETag.")] = "",
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Keep a policy as a draft, which does nothing yet; prints its version."""
    with talking(as_json):
        client, body = Client(url, key), {"text": _text(file), "why": why}
        if version is None:
            made = client.ask("POST", "/policies", body).body
        else:
            path = f"/policies/{version_of(version)}"
            made = client.ask("PUT", path, body, if_match or client.ask("GET", path).etag).body
    if as_json:
        print_json(made)
    else:
        tell(f"Version {made['version']} is a draft, etag {made['etag']}.")
        warn(made["warnings"])


@app.command()
def diff(
    what: Annotated[str, typer.Argument(metavar="VERSION|FILE", help="A version, or a file.")],
    against: Annotated[str, typer.Option(help="A version; the active one unless named.")] = "active",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 where there are differences.")] = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what a version, or a file, would change."""
    with talking(as_json):
        found = _diff(Client(url, key), what, against)
    if as_json:
        print_json(found)
    elif not found["changes"]:
        tell("No difference.")
    elif found.get("text"):
        stdout.print(Syntax(found["text"], "diff", background_color="default"))
    else:
        stdout.print(changes_table(found["changes"]))
    raise typer.Exit(REFUSED if exit_code and found["changes"] else OK)


@app.command("dry-run")
def dry_run(
    version: VersionArgument,
    last: Annotated[int, typer.Option(min=1, help="Recorded decisions to replay.")] = 1000,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Replay recorded decisions under a version and say what would change."""
    with talking(as_json):
        found = Client(url, key).post(f"/policies/{version_of(version)}/dry-run", {"last": last})
    if as_json:
        print_json(found)
        return
    stdout.print(comparison_table(f"Version {version} over {found['decisions']} decisions", found))
    for note in found["notes"]:
        stdout.print(Text(note, style="dim"))
    if found["left_out"]:
        left = ", ".join(f"{count} {why}" for why, count in found["left_out"].items())
        stdout.print(Text(f"Left out: {left}.", style="dim"))
    warn(found["warnings"])


for step in (shadow, canary, status, stop, activate, rollback, history):
    app.command()(step)


def _diff(client: Client, what: str, against: str) -> Row:
    other: Row = {} if against == "active" else {"against": version_of(against)}
    if what == "active" or what.isdecimal():
        return client.get(f"/policies/{what}/diff", **other)
    try:
        document = decoded(_text(Path(what)))
    except Invalid as error:
        raise SetupError(f"{what}: {error}") from None
    base = client.get(f"/policies/{version_of(against)}")
    rows = [
        {"path": one.path, "before": one.before, "after": one.after} for one in differences(base["document"], document)
    ]
    return {"version": what, "against": base["version"], "changes": rows}


def _yaml(document: Row) -> str:
    import yaml

    return yaml.safe_dump(document, sort_keys=False) if document else "# every field at its default\n"


def _text(file: Path) -> str:
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text()
    except OSError as error:
        raise SetupError(f"{str(file)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{str(file)!r} is no text: it is not UTF-8") from None
