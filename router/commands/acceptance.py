"""`alpharoute acceptance`: what a running service believes of its drafters, now or over time."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from router.commands.client import (
    DEFAULT_URL,
    Client,
    JsonOption,
    KeyOption,
    Refused,
    Row,
    Unreachable,
    UrlOption,
    moment,
    print_json,
    stdout,
    talking,
)
from router.errors import SetupError

BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 60


def acceptance(
    task: Annotated[str, typer.Option(help="Only this task.")] = "",
    drafter: Annotated[str, typer.Option(help="Only this drafter.")] = "",
    segment: Annotated[str, typer.Option(help="Only this segment.")] = "",
    over_time: Annotated[bool, typer.Option("--history", help="Over the last twelve hours, minute by minute.")] = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what a running service knows of each drafter and task."""
    which = {"task": task, "drafter": drafter, "segment": segment}
    with talking(as_json):
        client = Client(url, key)
        path, name = ("/acceptance/history", "series") if over_time else ("/acceptance", "acceptance")
        rows: list[Row] = client.get(path, **which)[name]
    if as_json:
        print_json(rows)
    else:
        stdout.print(history_table(rows) if over_time else acceptance_table("Acceptance", rows))


def read_acceptance(url: str, key: str = "") -> list[dict[str, Any]]:
    """The rows of /admin/v1/acceptance; raises SetupError where nobody answers there, or not to this API key."""
    try:
        rows: list[dict[str, Any]] = Client(url, key).get("/acceptance")["acceptance"]
    except (Refused, Unreachable) as error:
        raise SetupError(str(error)) from None
    return rows


def acceptance_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Acceptance by task and temperature; survival is P(the first i drafts are all accepted)."""
    columns = ("task", "segment", "temperature", "drafter", "α (90 %)", "survival S(1), S(2), …", "drafts seen")
    table = Table(*columns, title=title)
    for row in rows:
        survival = " ".join(f"{share:.2f}" for share in row["survival"])
        low, high = row["alpha_interval"]
        cells = (row["task"], row["segment"], row["temperature"], row["drafter"].rsplit("/", 1)[-1])
        alpha = f"{row['alpha']:.2f} ({low:.2f}–{high:.2f})"
        table.add_row(*map(Text, cells), alpha, survival, f"{row['drafts']:.0f}")
    return table


def history_table(series: list[Row]) -> Table:
    """α over time as a line of bars, 0 to 1, with its first and last value."""
    columns = ("task", "segment", "temperature", "drafter", "from", "α", "", "α now")
    table = Table(*columns, title="Acceptance over time")
    for one in series:
        points = one["points"]
        values = [point["alpha"] for point in points][-MOST_BARS:]
        line = "".join(BARS[min(int(value * len(BARS)), len(BARS) - 1)] for value in values)
        cells = (one["task"], one["segment"], one["temperature"], one["drafter"].rsplit("/", 1)[-1])
        table.add_row(*map(Text, cells), moment(points[0]["at_s"]), f"{values[0]:.2f}", line, f"{values[-1]:.2f}")
    return table
