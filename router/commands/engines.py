"""`alpharoute engines`: pools and replicas of a running service, and taking replicas out of traffic."""

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
    moment,
    place,
    print_json,
    share,
    stdout,
    talking,
    tell,
)

app = typer.Typer(no_args_is_help=True, help="Engines: see them, and take them out of traffic.")

ReplicaArgument = Annotated[str, typer.Argument(metavar="REPLICA", help="Its name, as `engines list` shows it.")]


@app.command("list")
def list_engines(url: UrlOption = DEFAULT_URL, key: KeyOption = "", as_json: JsonOption = False) -> None:
    """List pools and their replicas, with load, breaker and mark."""
    with talking(as_json):
        found = Client(url, key).get("/engines")
    if as_json:
        print_json(found)
        return
    stdout.print(engines_table(found))
    for name, mark in found["marks"].items():
        stdout.print(Text(f"{name} is gone and still marked: {mark['kind']} by {mark['by']}.", style="dim"))


@app.command()
def drain(
    replica: ReplicaArgument,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a replica no new requests at all; those that run may finish."""
    _mark("drain", replica, why, url, key, as_json)


@app.command()
def cordon(
    replica: ReplicaArgument,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a replica no new requests as long as another of its model can take them."""
    _mark("cordon", replica, why, url, key, as_json)


@app.command()
def uncordon(
    replica: ReplicaArgument,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a replica's mark away, whichever it is."""
    _mark("uncordon", replica, why, url, key, as_json)


def engines_table(found: Row) -> Table:
    """A row for each replica, a line for each pool that has none."""
    table = Table("pool", "replica", "state", "running", "waiting", "KV", "breaker", "mark", "heard", title="Engines")
    for pool in found["pools"]:
        what = f"{pool['name']} ({pool['model']}, {pool['method'] or 'vanilla'})"
        if not pool["replicas"]:
            table.add_row(Text(what), "none", style="red")
        for one in pool["replicas"]:
            load = (f"{one['running']}/{one['max_running']}", str(one["waiting"]), share(one["kv_usage"]))
            cells = (what, one["name"], _state(one), *load, one["breaker"], _mark_of(one), moment(one["heartbeat_s"]))
            table.add_row(*(Text(cell) for cell in cells), style="" if one["receives"] else "yellow")
            what = ""
    return table


def _state(one: Row) -> str:
    state = f"{one['state']}: {one['phase']}" if one["phase"] else one["state"]
    return str(state) if one["receives"] else f"{state}, gets nothing"


def _mark_of(one: Row) -> str:
    mark = one["mark"]
    if mark is None:
        return "–"
    kind = "drained" if one["drained"] else mark["kind"]
    return f"{kind} by {mark['by']}" + (f": {mark['why']}" if mark["why"] else "")


def _mark(what: str, replica: str, why: str, url: str, key: str, as_json: bool) -> None:
    with talking(as_json):
        one = Client(url, key).post(f"/engines/{place(replica)}/{what}", {"why": why})
    if as_json:
        print_json(one)
        return
    still = f"; {one['running']} requests still run" if what == "drain" and not one["drained"] else ""
    gets = "gets requests" if one["receives"] else "gets no new requests"
    tell(f"{one['name']} {gets}{still}.")
