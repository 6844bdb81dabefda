"""`alpharoute events`: what happened in a running service."""

from datetime import UTC, datetime, timedelta
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
    moment,
    print_json,
    stdout,
    talking,
)

STYLES = {"guard_tripped": "red", "drafter_stale": "red", "drift": "yellow", "replica_slow": "yellow"}


def events(
    kind: Annotated[str, typer.Option(help="Only this kind: drift, drafter_stale, guard_tripped, …")] = "",
    subject: Annotated[str, typer.Option(help="Only what is about something that begins so.")] = "",
    within_min: Annotated[float | None, typer.Option("--minutes", min=0, help="Only of the last minutes.")] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=1000, help="So many.")] = 30,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what happened, newest first: drift, guards, engines, policies."""
    since_s = None if within_min is None else (datetime.now(UTC) - timedelta(minutes=within_min)).timestamp()
    with talking(as_json):
        found = Client(url, key).get("/events", kind=kind, subject=subject, since_s=since_s, limit=last)
    if as_json:
        print_json(found)
    else:
        stdout.print(events_table(found["events"]))


def events_table(rows: list[Row], title: str = "Events") -> Table:
    """A line for each."""
    table = Table("at", "kind", "about", "what", title=title)
    for one in rows:
        cells = (moment(one["at_s"]), one["kind"], one["subject"], one["detail"])
        table.add_row(*(Text(cell) for cell in cells), style=STYLES.get(one["kind"], ""))
    return table
