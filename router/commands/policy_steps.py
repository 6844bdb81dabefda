"""Steps of a policy's life as commands: tried, put in force, undone, and their history."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from router.commands.client import (
    DEFAULT_URL,
    Client,
    JsonOption,
    KeyOption,
    Row,
    UrlOption,
    WhyOption,
    complain,
    moment,
    print_json,
    stdout,
    talking,
    tell,
)
from router.commands.policy_tables import canary_table, comparison_table

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A number, or 'active'.")]


def version_of(text: str) -> str:
    """A version as a part of a path; anything else is a wrong use of the command."""
    if text != "active" and not text.isdecimal():
        raise typer.BadParameter(f"a version is a number or 'active', not {text!r}; `policy list` shows them")
    return text


def shadow(
    version: VersionArgument,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let every router decide under a version too, without acting, and compare."""
    _act(url, key, as_json, f"/policies/{version_of(version)}/shadow", {"why": why})


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
    _act(url, key, as_json, f"/policies/{version_of(version)}/canary", body)


def status(url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """Say what is in force, and how a shadow or a canary goes."""
    with talking(as_json):
        found = Client(url, key).get("/policies/status")
    _tell(found, as_json)


def stop(
    version: Annotated[int | None, typer.Option("--version", help="Whose, where two are tried.")] = None,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """End a shadow or a canary; its version is a draft again."""
    _act(url, key, as_json, "/policies/stop", {"why": why} | ({} if version is None else {"version": version}))


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
    _put_in_force(url, key, as_json, f"/policies/{version_of(version)}/activate", body)


def rollback(
    to: Annotated[int | None, typer.Option(help="An earlier version; unset: the one before.")] = None,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put in force again what was before."""
    _put_in_force(url, key, as_json, "/policies/rollback", {"why": why} | ({} if to is None else {"to": to}))


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


def _put_in_force(url: str, key: str, as_json: bool, path: str, body: Row) -> None:
    """The same, and whose trials that ended: it may be another operator's."""
    client = Client(url, key)
    with talking(as_json):
        before = client.get("/policies/status")
        found = client.post(path, body)
    _tell(found, as_json)
    for kind in ("canary", "shadow"):
        if before[kind] is not None and found[kind] is None and not as_json:
            trial = before[kind]["trial"]
            tell(f"That ended the {kind} of version {trial['version']}, begun by {trial['by'] or 'somebody'}.")


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
            stdout.print(comparison_table("Shadow", report))
    if found["canary"] is not None:
        stdout.print(canary_table(found["canary"]))
    if found["problem"]:
        complain(found["problem"])
