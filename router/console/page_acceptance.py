"""Acceptance by task: the table, and of one record its course over time, its drift and its survival curve."""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from router.console import charts
from router.console.frame import View
from router.console.pieces import Chart, Column, Table, box, card, text
from router.console.wording import ago, figure, percent
from router.roles import CONSOLE

EVERY_S = 4.0
MOST_CURVES = 8
"""Survival curves in one chart, those with most evidence: more cannot be told apart."""

SINCE = {"1 hour": 3600.0, "3 hours": 3 * 3600.0, "12 hours": 12 * 3600.0}

_KEY = ("drafter", "task", "segment", "temperature", "shape")
_COLUMNS = (
    Column("task", "Task", kind="link"),
    Column("alpha", "Acceptance α", kind="meter"),
    Column("interval", "90 % interval", phone=False),
    Column("survival", "Survival at 1 · 2 · 4", phone=False),
    Column("drafts", "Drafts", number=True),
    Column("temperature", "Temp."),
    Column("segment", "Segment", phone=False),
    Column("drafter", "Drafter", phone=False),
    Column("age", "Last change", number=True, phone=False),
)


def build(view: View) -> None:
    """The page; `?task=&drafter=&segment=&temperature=&shape=` opens one record."""
    text("Acceptance", "h1")
    text(
        "α is the share of drafts that the target accepted. Intervals hold 90 %; old evidence fades.",
        classes="quiet",
    )
    if view.query.get("task"):
        _one_record(view)
    with card("Survival of drafts"):
        text("P(the first i drafts all hold), the records with most drafts.", classes="quiet small")
        curves = Chart("survival by position", tall=True)
    with card("By task"):
        table = Table(_COLUMNS, "id", "No draft was seen yet")

    async def show() -> None:
        rows = (await view.get("/acceptance"))["acceptance"]
        table.show([row_of(one, time.time()) for one in rows])
        top = sorted(rows, key=lambda one: -float(one["drafts"]))[:MOST_CURVES]
        curves.show(charts.survival({_name(one, top): one for one in top}) if top else None)

    view.keep(show, EVERY_S)


def row_of(one: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    """A record as a row of the table."""
    low, high = one["alpha_interval"]
    held = one["survival"]
    at = [f"{held[i - 1]:.2f}" if len(held) >= i else "–" for i in (1, 2, 4)]
    return {
        "id": "|".join(str(one[part]) for part in _KEY),
        "href": f"{CONSOLE}/acceptance?{urlencode({part: one[part] for part in _KEY})}",
        "task": one["task"],
        "alpha": f"{one['alpha']:.2f}",
        "alpha_share": round(one["alpha"] * 100, 1),
        "low_share": round(low * 100, 1),
        "high_share": round(high * 100, 1),
        "meter_title": f"{low:.2f} to {high:.2f}",
        "interval": f"{low:.2f} – {high:.2f}",
        "survival": " · ".join(at),
        "drafts": round(one["drafts"]),
        "temperature": one["temperature"],
        "segment": one["segment"],
        "drafter": one["drafter"].rsplit("/", 1)[-1],
        "age": f"{ago(now_s - one['at_s'])} ago" if one["at_s"] > 0 else "–",
    }


def _one_record(view: View) -> None:
    wanted = {part: view.query.get(part, "") for part in _KEY}
    with card(), box("row2"):
        text(wanted["task"], "h2")
        for part in ("drafter", "segment", "temperature", "shape"):
            if wanted[part]:
                text(f"{part} {wanted[part].rsplit('/', 1)[-1]}", "span", "chip")
        figures = text("", "span", "quiet")
        span = ui.toggle(list(SINCE), value="1 hour").props('dense no-caps unelevated aria-label="how far back"')
        text("Close", "a").props(f'href="{CONSOLE}/acceptance"')
    with box("two"):
        with card("Over time"):
            course = Chart("acceptance over time", "A point is kept for each minute in which it changed: none yet.")
        with card("Survival"):
            curve = Chart("survival by position with interval")

    async def show() -> None:
        asked = {part: wanted[part] for part in ("drafter", "task", "segment", "temperature")}
        since_s = time.time() - SINCE[span.value or "1 hour"]
        found = _those(await view.get("/acceptance", **asked), "acceptance", wanted)
        told = await view.get("/acceptance/history", **asked, since_s=f"{since_s // 60 * 60:.0f}")
        events = (await view.get("/events", kind="drift", subject=wanted["drafter"], limit="200"))["events"]
        points = [point for series in _those(told, "series", wanted) for point in series["points"]]
        marks = [(event["at_s"], "drift") for event in events if concerns(event, wanted) and event["at_s"] >= since_s]
        course.show(charts.band(points, marks) if points else None)
        curve.show(charts.survival({wanted["task"]: found[0]}) if found else None)
        figures.set_text(_said(found[0]) if found else "no draft was seen of it")

    span.on_value_change(lambda: view.guarded(show))
    view.keep(show, EVERY_S)


def concerns(event: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether a drift is of this record; its subject is drafter/task/segment/temperature, and drafters hold slashes."""
    end = "/".join(wanted[part] for part in ("task", "segment", "temperature"))
    return str(event["subject"]) == f"{wanted['drafter']}/{end}"


def _those(body: Mapping[str, Any], name: str, wanted: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    fitting = [one for one in body[name] if all(not wanted[part] or one[part] == wanted[part] for part in _KEY)]
    return sorted(fitting, key=lambda one: -float(one.get("drafts", len(one.get("points", ())))))[:1]


def _said(one: Mapping[str, Any]) -> str:
    low, high = one["alpha_interval"]
    return f"α {percent(one['alpha'])} ({percent(low)} to {percent(high)}), {figure(round(one['drafts']))} drafts"


def _name(one: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """The task, and what tells it from others of the same task."""
    alike = [other for other in among if other["task"] == one["task"]]
    parts = [part for part in ("temperature", "segment", "drafter", "shape") if len({o[part] for o in alike}) > 1]
    told = " ".join(str(one[part]).rsplit("/", 1)[-1] for part in parts)
    return f"{one['task']} ({told})" if told else str(one["task"])
