"""The keys there are, for admins: who may come in, as what, how much, until when; made, rotated and revoked here."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from router.console.admin_api import ApiRefused
from router.console.frame import View
from router.console.key_forms import NewKey, Steer
from router.console.pieces import Column, Table, box, card, text
from router.console.wording import figure

EVERY_S = 10.0
_COLUMNS = (
    Column("id", "Key"),
    Column("role", "Role", kind="chip"),
    Column("segments", "Segments", phone=False),
    Column("requests", "Requests / min", number=True, phone=False),
    Column("tokens", "Tokens / min", number=True, phone=False),
    Column("concurrent", "At a time", number=True, phone=False),
    Column("expires", "Expires"),
    Column("former", "Former one until", phone=False),
    Column("where", "Kept in", phone=False),
    Column("act", ""),
)
_BUTTONS = """<q-td :props="props" auto-width>
<q-btn flat dense size="sm" icon="more_vert" :aria-label="'Change ' + props.row.id"
  @click="() => $parent.$emit('act', props.row.id)" /></q-td>"""


def build(view: View) -> None:
    """The page."""
    with box("row2"):
        text("Keys", "h1")
        new = ui.button("New key", icon="add", on_click=lambda: NewKey(view, show)).props("unelevated no-caps")
    said = text("Only hashes are stored: a key is shown once, when it is made or rotated.", classes="quiet")
    with card():
        table = Table(_COLUMNS, "id", "No key is known")
        table.add_buttons(_BUTTONS, lambda name: Steer(view, name, show))

    async def show() -> None:
        try:
            keys = (await view.get("/keys"))["keys"]
        except ApiRefused as refused:
            if refused.code != "no_keys":
                raise
            new.set_visibility(False)
            said.set_text(str(refused))
            return
        table.show([row_of(one) for one in keys])

    view.keep(show, EVERY_S)


def row_of(one: Mapping[str, Any]) -> dict[str, Any]:
    """A key as a row; limits that are not set are unlimited."""
    limits = one.get("limits") or {}
    shown = {
        name: figure(limits[field]) if limits.get(field) is not None else "∞"
        for name, field in (
            ("requests", "requests_per_minute"),
            ("tokens", "tokens_per_minute"),
            ("concurrent", "concurrent"),
        )
    }
    return {
        "id": one["id"],
        "role": one["role"],
        "role_kind": {"admin": "warn", "operator": "blue"}.get(one["role"], ""),
        "segments": ", ".join(one.get("segments") or ()) or "all",
        "expires": _day(one.get("expires")) or "never",
        "former": _day(one.get("former_until")),
        "where": one.get("kept_in", ""),
        **shown,
    }


def _day(moment: str | None) -> str:
    """A time as the Admin API says it, to the minute."""
    return moment[:16].replace("T", " ") if moment else ""
