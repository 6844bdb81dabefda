"""How the service is set up, for admins: every setting, secrets as stars, what differs from the default set off."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from router.console.frame import View
from router.console.pieces import Column, Table, card, text

EVERY_S = 30.0
_COLUMNS = (
    Column("path", "Setting"),
    Column("value", "Value"),
    Column("changed", "", kind="chip", phone=False),
    Column("default", "Default", phone=False),
    Column("about", "What it means", phone=False),
)


def build(view: View) -> None:
    """The page."""
    text("Settings", "h1")
    text(
        "Of the router that answered; all start with the same. They are set in the file, in Helm values or by "
        "environment variables (ALPHAROUTE_ROUTER__SYNC_S is router.sync_s) and hold until the next deployment.",
        classes="quiet",
    )
    with card(classes="stack"):
        only = ui.switch("Only what is not the default").props("dense")
        table = Table(_COLUMNS, "path", "No setting fits", wrap=True)

    async def show() -> None:
        rows = [row_of(one) for one in (await view.get("/settings"))["settings"]]
        table.show([row for row in rows if row["changed"] or not only.value])

    only.on_value_change(lambda: view.guarded(show))
    view.keep(show, EVERY_S)


def row_of(one: Mapping[str, Any]) -> dict[str, Any]:
    """A setting as a row."""
    changed = one["value"] != one["default"]
    return {
        "path": one["path"],
        "value": one["value"] or "–",
        "changed": (one["origin"] if one["origin"] != "default" else "set") if changed else "",
        "changed_kind": "blue",
        "default": one["default"] or "–",
        "about": one["about"],
    }
