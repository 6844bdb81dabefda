"""`alpharoute policy`: write, check, try and put in force routing policies of a running service."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from policies.document import Document
from policies.steering_diff import differences
from router.commands.client import (
    DEFAULT_URL,
    OK,
    REFUSED,
    Client,
    JsonOption,
    KeyOption,
    Row,
    UrlOption,
    WhyOption,
    complain,
    moment,
    print_json,
    problem_line,
    share,
    stdout,
    talking,
    tell,
)
from router.errors import SetupError
from router.steering.errors import Invalid
from router.steering.reading import decoded, validate

app = typer.Typer(no_args_is_help=True, help="Routing policies: write, check, try and put in force.")

WHOLE = "(document)"

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A number, or 'active'.")]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON; - reads standard input.")]


@app.command("validate")
def validate_file(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a policy without any service; exit code 1 where something is wrong with it."""
    with talking(as_json):
        problems = validate(_text(file))
    rows: list[Row] = [
        {name: getattr(one, name) for name in ("path", "value", "message", "allowed", "nearest")} for one in problems
    ]
    if as_json:
        print_json({"valid": not rows, "problems": rows})
    elif rows:
        for row in rows:
            complain(problem_line(row))
    else:
        tell(f"{file} is valid.")
    raise typer.Exit(REFUSED if rows else OK)


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
    table = Table("version", "state", "edited by", "at", "why", "active since", title="Policies")
    for one in found["versions"]:
        style = {"active": "bold green", "canary": "yellow", "shadow": "cyan"}.get(one["state"], "")
        name = f"{one['version']}" + (" (file)" if one["version"] == 0 else "")
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
        found = Client(url, key).get(f"/policies/{_version(version)}")
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
            path = f"/policies/{_version(version)}"
            made = client.ask("PUT", path, body, if_match or client.ask("GET", path).etag).body
    if as_json:
        print_json(made)
    else:
        tell(f"Version {made['version']} is a draft, etag {made['etag']}.")


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
        stdout.print(_changes(found["changes"]))
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
        found = Client(url, key).post(f"/policies/{_version(version)}/dry-run", {"last": last})
    if as_json:
        print_json(found)
        return
    stdout.print(_comparison(f"Version {version} over {found['decisions']} decisions", found))
    for note in found["notes"]:
        stdout.print(Text(note, style="dim"))
    if found["left_out"]:
        left = ", ".join(f"{count} {why}" for why, count in found["left_out"].items())
        stdout.print(Text(f"Left out: {left}.", style="dim"))


@app.command()
def shadow(
    version: VersionArgument,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let every router decide under a version too, without acting, and compare."""
    _act(url, key, as_json, f"/policies/{_version(version)}/shadow", {"why": why})


@app.command()
def canary(
    version: VersionArgument,
    of: Annotated[float, typer.Option("--share", min=0.0, max=1.0, help="Share of the traffic, 0–1.")] = 0.1,
    segments: Annotated[list[str] | None, typer.Option("--segment", help="Only these segments take part.")] = None,
    whole: Annotated[bool, typer.Option("--by-segment", help="The share is of segments, not of requests.")] = False,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a version serve a share of the traffic; it stops by itself where it is worse."""
    unit = "segment" if whole else "request"
    body = {"share": of, "segments": segments or [], "by": unit, "why": why}
    _act(url, key, as_json, f"/policies/{_version(version)}/canary", body)


@app.command()
def status(url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Say what is in force, and how a shadow or a canary goes."""
    with talking(as_json):
        found = Client(url, key).get("/policies/status")
    _tell(found, as_json)


@app.command()
def stop(
    version: Annotated[int | None, typer.Option("--version", help="Whose, where two are tried.")] = None,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """End a shadow or a canary; its version is a draft again."""
    _act(url, key, as_json, "/policies/stop", {"why": why} | ({} if version is None else {"version": version}))


@app.command()
def activate(
    version: VersionArgument,
    if_active: Annotated[int | None, typer.Option(help="Only where this version is the active one still.")] = None,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put a version in force in every router."""
    body = {"why": why} | ({} if if_active is None else {"if_active": if_active})
    _act(url, key, as_json, f"/policies/{_version(version)}/activate", body)


@app.command()
def rollback(
    to: Annotated[int | None, typer.Option(help="An earlier version; unset: the one before.")] = None,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put in force again what was before."""
    _act(url, key, as_json, "/policies/rollback", {"why": why} | ({} if to is None else {"to": to}))


@app.command()
def history(
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=1000, help="So many lines.")] = 20,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show who did what, when and why, newest first."""
    with talking(as_json):
        found = Client(url, key).get("/policies/history", limit=last)
    if as_json:
        print_json(found)
        return
    table = Table("at", "by", "did", "version", "why", "changes", title="History")
    for one in found["history"]:
        changed = ", ".join(change["path"] for change in one["changes"][:4])
        more = f" and {len(one['changes']) - 4} more" if len(one["changes"]) > 4 else ""
        cells = (moment(one["at_s"]), one["by"], one["action"], str(one["version"]), one["why"], changed + more)
        table.add_row(*(Text(cell) for cell in cells))
    stdout.print(table)


def _act(url: str, key: str, as_json: bool, path: str, body: Row) -> None:
    with talking(as_json):
        found = Client(url, key).post(path, body)
    _tell(found, as_json)


def _tell(found: Row, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    source = "" if found["source"] == "store" else f" (from the {found['source']})"
    by = f", by {found['by']}" if found["by"] else ""
    tell(f"Version {found['active']}{source} is active{by}.")
    if found["shadow"] is not None:
        trial, report = found["shadow"]["trial"], found["shadow"]["report"]
        decided = report["total"]["decisions"]
        tell(f"Version {trial['version']} is a shadow since {moment(trial['since_s'])}: {decided} decisions.")
        if decided:
            stdout.print(_comparison("Shadow", report))
    if found["canary"] is not None:
        stdout.print(_canary(found["canary"]))
    if found["problem"]:
        complain(found["problem"])


def _canary(found: Row) -> Table:
    trial, report = found["trial"], found["report"]
    title = f"Version {trial['version']} serves {share(trial['share'])} as a canary since {moment(trial['since_s'])}"
    table = Table("", "requests", "ms per token", "p99", "errors", "guard trips", title=title)
    for name in ("rest", "canary"):
        arm = report[name]
        times = (arm["ms_per_token"], arm["p99_ms_per_token"])
        cells = (f"{ms:.2f}" if arm["measured"] else "–" for ms in times)
        table.add_row(name, str(arm["requests"]), *cells, str(arm["errors"]), str(arm["guard_trips"]))
    low, high = report["low"], report["high"]
    table.caption = f"slower by {report['slower']:+.1%} ({low:+.1%} to {high:+.1%}); {report['fault'] or 'no fault'}"
    return table


def _comparison(title: str, found: Row) -> Table:
    table = Table(
        "task", "decisions", "other pool", "other k", "mean k", "ms per token", "time then / now", title=title
    )
    for row in [*found["tasks"], found["total"]]:
        k, ms = row["mean_k"], row["ms_per_token"]
        table.add_row(
            row["task"] or "all",
            str(row["decisions"]),
            share(row["pool_changed"]),
            share(row["k_changed"]),
            f"{k[0]:.1f} → {k[1]:.1f}",
            f"{ms[0]:.2f} → {ms[1]:.2f}",
            f"{row['ratio']:.3f} ({row['low']:.3f}–{row['high']:.3f})",
            style="bold" if not row["task"] else "",
        )
    return table


def _diff(client: Client, what: str, against: str) -> Row:
    other: Row = {} if against == "active" else {"against": _version(against)}
    if what == "active" or what.isdecimal():
        return client.get(f"/policies/{what}/diff", **other)
    try:
        document = decoded(_text(Path(what)))
    except Invalid as error:
        raise SetupError(f"{what}: {error}") from None
    base = client.get(f"/policies/{_version(against)}")
    rows = [
        {"path": one.path, "before": one.before, "after": one.after} for one in differences(base["document"], document)
    ]
    return {"version": what, "against": base["version"], "changes": rows}


def _changes(rows: list[Row]) -> Table:
    table = Table("field", "before", "after")
    for row in rows:
        table.add_row(Text(row["path"]), Text(_said(row["before"]), style="red"), Text(_said(row["after"]), "green"))
    return table


def _said(value: object) -> str:
    return "–" if value is None else str(value)


def _yaml(document: Row) -> str:
    import yaml

    return yaml.safe_dump(document, sort_keys=False) if document else "# every field at its default\n"


def _version(text: str) -> str:
    if text != "active" and not text.isdecimal():
        raise typer.BadParameter(f"a version is a number or 'active', not {text!r}; `policy list` shows them")
    return text


def _text(file: Path) -> str:
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text()
    except OSError as error:
        raise SetupError(f"{str(file)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{str(file)!r} is no text: it is not UTF-8") from None
