"""`alpharoute engines`: pools and replicas of a running service, taking replicas out of traffic, reloading engines."""

import time
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from router.commands.client import (
    DEFAULT_URL,
    REFUSED,
    Client,
    JsonOption,
    KeyOption,
    Row,
    UrlOption,
    WhyOption,
    complain,
    moment,
    place,
    print_json,
    share,
    stdout,
    talking,
    tell,
)

app = typer.Typer(no_args_is_help=True, help="Engines: see them, take them out of traffic, reload them.")

LOOK_S = 0.3

ReplicaArgument = Annotated[str, typer.Argument(metavar="REPLICA", help="Its name, as `engines list` shows it.")]


ForceOption = Annotated[
    bool, typer.Option("--force", help="Also where no other replica of its model gets requests meanwhile.")
]


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
    force: ForceOption = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a replica no new requests at all; those that run may finish."""
    _mark("drain", replica, {"why": why, "force": force}, url, key, as_json)


@app.command()
def cordon(
    replica: ReplicaArgument,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a replica no new requests as long as another of its model can take them."""
    _mark("cordon", replica, {"why": why}, url, key, as_json)


@app.command()
def uncordon(
    replica: ReplicaArgument,
    why: WhyOption = "",
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a replica's mark away, whichever it is."""
    _mark("uncordon", replica, {"why": why}, url, key, as_json)


@app.command()
def reload(
    replica: ReplicaArgument,
    why: WhyOption = "",
    force: ForceOption = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it serves again.")] = True,
    limit_s: Annotated[float, typer.Option("--limit", min=1, help="Longest wait in seconds.")] = 900.0,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Restart a replica's engine: it finishes what it runs, starts as its settings say, is verified and readmitted."""
    client = Client(url, key)
    with talking(as_json):
        before = client.post(f"/engines/{place(replica)}/reload", {"why": why, "force": force})
    one = _reloaded(client, before, limit_s, as_json) if wait else before
    if as_json:
        print_json(one)
    elif wait:
        gets = "gets requests" if one["receives"] else "gets no new requests, for it is marked"
        tell(f"{replica} is reloaded and {gets}.")
    else:
        tell(f"{replica} reloads: it finishes {one['running']} requests first.")


def _reloaded(client: Client, before: Row, limit_s: float, as_json: bool) -> Row:
    """Follow the replica until its engine serves anew; an exit code of 1 where it does not."""
    name, until_s, said = before["name"], time.monotonic() + limit_s, ""
    while time.monotonic() < until_s:
        with talking(as_json):
            pools = client.get("/engines")["pools"]
        found: Row | None = next((one for pool in pools for one in pool["replicas"] if one["name"] == name), None)
        if found is None:
            raise _failed(f"{name} did not come back: it was replaced by another replica, or waits to be.", as_json)
        if found["state"] == "ready" and found["ready_since_s"] > before["ready_since_s"]:
            return found
        doing = found["phase"] or (found["state"] if found["state"] != "ready" else "asked to reload")
        if doing != said and not as_json:
            tell(f"{name}: {doing}")
        said = doing
        time.sleep(LOOK_S)
    raise _failed(f"{name} was not ready again after {limit_s:.0f} s; it is {said!r}.", as_json)


def _failed(message: str, as_json: bool) -> typer.Exit:
    if as_json:
        print_json({"error": {"message": message, "code": "not_reloaded"}})
    else:
        complain(message)
    return typer.Exit(REFUSED)


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


def _mark(what: str, replica: str, body: Row, url: str, key: str, as_json: bool) -> None:
    with talking(as_json):
        one = Client(url, key).post(f"/engines/{place(replica)}/{what}", body)
    if as_json:
        print_json(one)
        return
    still = f"; {one['running']} requests still run" if what == "drain" and not one["drained"] else ""
    gets = "gets requests" if one["receives"] else "gets no new requests"
    tell(f"{one['name']} {gets}{still}.")
