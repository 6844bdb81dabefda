"""What happened: drift, guards, engines, policies; newest first."""

import time
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from router.console.frame import View
from router.console.pieces import Column, Table, card, text
from router.console.wording import clock

EVERY_S = 3.0
MOST = 500
ANY = "every kind"
SERIOUS = frozenset({"drift", "drafter_stale", "guard_tripped", "replica_slow"})

_COLUMNS = (
    Column("at", "Time (UTC)"),
    Column("kind", "Kind", kind="chip"),
    Column("subject", "About", phone=False),
    Column("detail", "What happened"),
)


def build(view: View) -> None:
    """The page; `?kind=` shows one kind."""
    text("Events", "h1")
    with card():
        kinds = ui.select([ANY], value=ANY, label="Kind").props("outlined dense options-dense").classes("kinds")
        table = Table(_COLUMNS, "id", "Nothing has happened yet")

    async def show() -> None:
        found = (await view.get("/events", limit=str(MOST)))["events"]
        there = sorted({one["kind"] for one in found})
        if kinds.options != [ANY, *there]:
            kinds.set_options([ANY, *there], value=kinds.value if kinds.value in there else ANY)
        shown = [one for one in found if kinds.value in (ANY, one["kind"])]
        table.show([row_of(one, time.time()) for one in shown])

    kinds.on_value_change(lambda: view.guarded(show))
    view.keep(show, EVERY_S)


def row_of(one: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    """An event as a row."""
    return {
        "id": one["id"],
        "at": clock(one["at_s"], now_s),
        "kind": one["kind"].replace("_", " "),
        "kind_kind": kind_of(one["kind"]),
        "subject": one["subject"],
        "detail": one["detail"],
    }


def kind_of(kind: str) -> str:
    """How serious an event is, as a colour."""
    if kind in SERIOUS or "abort" in kind or "stopped" in kind or "invalid" in kind:
        return "bad"
    return "blue" if kind.startswith("policy") else ""
