"""`alpharoute top`: a running service in the terminal, refreshed while it is watched."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
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
    print_json,
    share,
    stdout,
    talking,
)
from router.commands.engines import engines_table
from router.commands.events import events_table

MOST_ENGINES = 20
"""Rows of engines at most: those that get nothing come first, then the busiest."""

EVENTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that one screen shows, as it was read."""

    overview: Row
    engines: Row
    events: list[Row]
    status: Row


def top(
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between readings.")] = 2.0,
    times: Annotated[int, typer.Option("--times", min=0, help="End after so many screens; 0 goes on.")] = 0,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Watch requests, tasks, engines and events live; Ctrl-C ends it."""
    client = Client(url, key)
    with talking(as_json):
        first = read(client)
    if as_json:
        print_json({"overview": first.overview, "engines": first.engines, "policy": first.status})
        return
    with contextlib.suppress(KeyboardInterrupt):
        _watch(client, first, every_s, times)


def read(client: Client) -> Reading:
    """One reading."""
    events: list[Row] = client.get("/events", limit=EVENTS_SHOWN)["events"]
    return Reading(client.get("/overview"), client.get("/engines"), events, client.get("/policies/status"))


def _watch(client: Client, first: Reading, every_s: float, times: int) -> None:
    before, now, shown = first, first, 1
    with Live(screen(before, now), console=stdout, screen=times == 0, auto_refresh=False) as live:
        while times == 0 or shown < times:
            time.sleep(every_s)
            try:
                before, now = now, read(client)
                live.update(screen(before, now), refresh=True)
            except (Refused, Unreachable) as error:
                stale = Text(f"{error} What is shown is old.", style="red")
                live.update(Group(stale, screen(before, now)), refresh=True)
            shown += 1


def screen(before: Reading, now: Reading) -> RenderableType:
    """A screen: the rates are those between two readings, or since the start where they are one."""
    engines = {**now.engines, "pools": [_most_worth(pool) for pool in now.engines["pools"]]}
    parts = (_head(before.overview, now), _tasks(before.overview, now.overview), engines_table(engines))
    return Group(*parts, events_table(now.events))


def _head(before: Row, now: Reading) -> Text:
    seen = now.overview
    took_s = max(seen["at_s"] - before["at_s"], 0.0)
    rate = f"{(seen['requests'] - before['requests']) / took_s:.1f} requests/s" if took_s else "…"
    saved_s = sum(task["saved_s"] for task in seen["tasks"])
    line = Text(f"{rate}   {seen['requests']} in all, {seen['failed']} failed, {seen['refused']} refused   ")
    line.append(f"{saved_s:.0f} s of engine time saved against vanilla, as estimated   ", style="green")
    line.append(f"policy {now.status['active']}   {seen['routers']} routers")
    if not seen["redis_up"]:
        line.append(f"   Redis is away: what is known is {seen['knowledge_age_s']:.0f} s old", style="bold red")
    ks = ", ".join(f"k={k}: {count}" for k, count in seen["k"].items())
    line.append(f"\n{ks}", style="dim")
    return line


def _tasks(before: Row, now: Row) -> Table:
    columns = ("task", "decisions", "speculative", "accepted", "ms per token", "vanilla, estimated", "time saved")
    table = Table(*columns, title="Tasks")
    earlier = {task["task"]: task for task in before["tasks"]}
    for task in sorted(now["tasks"], key=lambda row: -row["decisions"]):
        row = _between(earlier.get(task["task"], {}), task)
        tokens, took_s = row["output_tokens"], row["generation_s"]
        vanilla_s = took_s + row["saved_s"]
        table.add_row(
            Text(task["task"] or "–"),
            str(task["decisions"]),
            share(row["speculative"] / row["decisions"]) if row["decisions"] else "–",
            share(row["accepted"] / row["proposed"]) if row["proposed"] else "–",
            f"{took_s / tokens * 1e3:.1f}" if tokens else "–",
            f"{vanilla_s / tokens * 1e3:.1f}" if tokens else "–",
            share(row["saved_s"] / vanilla_s) if vanilla_s > 0 else "–",
        )
    return table


def _between(earlier: Mapping[str, float], now: Row) -> dict[str, float]:
    """What came since the earlier reading; everything, where nothing did."""
    counts = {name: value for name, value in now.items() if name != "task"}
    since = {name: value - earlier.get(name, 0) for name, value in counts.items()}
    return since if since["decisions"] > 0 and since["output_tokens"] > 0 else counts


def _most_worth(pool: Row) -> Row:
    ranked = sorted(pool["replicas"], key=lambda one: (one["receives"], -one["running"] - one["waiting"], one["name"]))
    return {**pool, "replicas": ranked[:MOST_ENGINES]}
