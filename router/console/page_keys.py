"""The keys there are, for admins: who may come in, as what, how much, and until when. Never a secret."""

from collections.abc import Mapping
from typing import Any

from router.console.frame import View
from router.console.pieces import Column, Table, card, text
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
)


def build(view: View) -> None:
    """The page."""
    text("Keys", "h1")
    text("Made, rotated and revoked by `alpharoute keys` or the Admin API; only hashes are stored.", classes="quiet")
    with card():
        table = Table(_COLUMNS, "id", "No key is known")

    async def show() -> None:
        table.show([row_of(one) for one in (await view.get("/keys"))["keys"]])

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
        "expires": one.get("expires") or "never",
        **shown,
    }
