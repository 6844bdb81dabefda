"""`alpharoute decisions`: what a running service decided, and why."""

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

app = typer.Typer(no_args_is_help=True, help="Decisions: find them, and have one explained.")


@app.command("list")
def list_decisions(
    request_id: Annotated[str, typer.Option("--request", help="Only of this request.")] = "",
    task: Annotated[str, typer.Option(help="Only of this task.")] = "",
    pool: Annotated[str, typer.Option(help="Only for this pool.")] = "",
    replica: Annotated[str, typer.Option(help="Only for this replica.")] = "",
    reason: Annotated[str, typer.Option(help="Only for this reason.")] = "",
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=1000, help="So many.")] = 20,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """List decisions, newest first."""
    which = {"request_id": request_id, "task": task, "pool": pool, "replica": replica, "reason": reason}
    with talking(as_json):
        found = Client(url, key).get("/decisions", **which, limit=last)
    if as_json:
        print_json(found)
        return
    columns = ("at", "request", "task", "pool", "replica", "k", "reason", "ms/token", "measured", "vanilla")
    table = Table(*columns, title="Decisions")
    for one in found["decisions"]:
        times = (one[f"{name}_ms_per_token"] for name in ("expected", "measured", "vanilla"))
        cells = (moment(one["at_s"]), one["request_id"], one["task"], one["pool"], one["replica"], str(one["k"]))
        table.add_row(*(Text(cell) for cell in (*cells, one["reason"], *map(_ms, times))))
    stdout.print(table)


@app.command()
def explain(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="The x-request-id of an answer.")],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say why a request went where it went: features, every alternative's score, the reason, how it went."""
    with talking(as_json):
        found = Client(url, key).get("/decisions/explain", request_id=request_id)
    if as_json:
        print_json(found)
        return
    for sentence in found["sentences"]:
        stdout.print(Text(sentence))
    stdout.print(_alternatives(found["decision"]))


def _alternatives(one: Row) -> Table:
    """The predicted time per token of each replica and k, with the harm to others and the wait."""
    rows = one["alternatives"]
    most = max((len(row["u_ms"]) for row in rows), default=0)
    table = Table("replica", "load", *(f"k={k}" for k in range(most)), title="ms per token by replica and k")
    for row in rows:
        engine = row["engine"]
        cells = [_score(one, row, k) for k in range(len(row["u_ms"]))]
        load = f"{engine['running']}+{engine['waiting']}"
        table.add_row(Text(engine["name"]), load, *cells)
    table.caption = "chosen in bold; what was not allowed is dim"
    return table


def _score(one: Row, row: Row, k: int) -> Text:
    chosen = (row["engine"]["name"], k) == (one["replica"], one["k"])
    allowed = row["low"] <= k <= row["high"]
    return Text(f"{row['u_ms'][k]:.2f}", style="bold green" if chosen else "" if allowed else "dim")


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
