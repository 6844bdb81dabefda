"""Dialogs on keys: making one, rotating and revoking one, and the one place that shows a key, once."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from nicegui import ui

from router.console.admin_api import Body
from router.console.frame import View
from router.console.pieces import box, text
from router.roles import Role

Show = Callable[[], Awaitable[None]]

DOES = {
    "rotate": "Rotate: a new key under this name; the former one is taken for a while.",
    "revoke": "Revoke: it is refused everywhere within seconds, and cannot be brought back.",
}
OVERLAPS = {0: "not at all", 3600: "an hour", 86_400: "a day", 604_800: "a week"}
LIMITS = {
    "requests_per_minute": "Requests in any minute",
    "tokens_per_minute": "Tokens in any minute",
    "concurrent": "Requests at a time",
}


class NewKey:
    """The form for a key; what it lacks is said by the Admin API, beside the form."""

    def __init__(self, view: View, show: Show) -> None:
        self._view, self._show = view, show
        with ui.dialog(value=True) as self._dialog, ui.card():
            text("New key", "h2")
            self._id = _input("Name", "letters, digits, . _ -")
            self._role = ui.select([role.value for role in Role], value=Role.CLIENT.value, label="Role")
            self._role.props("outlined dense").classes("full-width")
            self._segments = _input("Segments", "none: all; else a, b")
            self._limits = {name: _number(label) for name, label in LIMITS.items()}
            self._expires = _input("Expires", "never").props("type=date hint='at the end of that day, UTC'")
            _buttons("Make the key", lambda: view.guarded(self._make), self._dialog)

    async def _make(self) -> None:
        made = await self._view.send("POST", "/keys", self._body())
        self._dialog.close()
        _show_once(str(made.body["id"]), str(made.body["key"]))
        await self._show()

    def _body(self) -> Body:
        segments = [part.strip() for part in (self._segments.value or "").split(",")]
        return {
            "id": (self._id.value or "").strip(),
            "role": self._role.value,
            "segments": [part for part in segments if part],
            "limits": {name: _whole(field.value) for name, field in self._limits.items()},
            "expires": f"{self._expires.value}T23:59:59Z" if self._expires.value else None,
        }


class Steer:
    """Rotating or revoking a key."""

    def __init__(self, view: View, name: str, show: Show) -> None:
        self._view, self._show, self._name = view, show, name
        with ui.dialog(value=True) as self._dialog, ui.card():
            text(name, "h2")
            self._does = ui.radio(DOES, value="rotate")
            self._overlap = ui.select(OVERLAPS, value=86_400, label="The former one is still taken for")
            self._overlap.props("outlined dense").classes("full-width")
            self._overlap.bind_visibility_from(self._does, "value", value="rotate")
            _buttons("Do it", lambda: view.guarded(self._act), self._dialog)

    async def _act(self) -> None:
        path = f"/keys/{quote(self._name, safe='')}"
        if self._does.value == "revoke":
            await self._view.send("DELETE", path, None)
            ui.notify(f"{self._name} is revoked", type="positive", position="bottom-right")
            self._dialog.close()
        else:
            made = await self._view.send("POST", f"{path}/rotate", {"overlap_s": self._overlap.value})
            self._dialog.close()
            _show_once(self._name, str(made.body["key"]))
        await self._show()


def _show_once(name: str, key: str) -> None:
    """The key itself; when the dialog is closed it is nowhere any more."""
    with ui.dialog(value=True).props("persistent") as dialog, ui.card():
        text(f"The key {name}", "h2")
        text("Copy it now: it is shown this once. Whoever has it comes in.")
        field = ui.input(value=key).props('readonly outlined dense aria-label="The key"').classes("full-width mono")
        with box("row2"):
            ui.button("Copy", icon="content_copy", on_click=lambda: ui.clipboard.write(key)).props("unelevated no-caps")
            ui.button("I have it", on_click=dialog.close).props("flat no-caps")

    def forget() -> None:
        field.set_value("")
        dialog.delete()

    dialog.on("hide", forget)


def _input(label: str, placeholder: str) -> ui.input:
    return ui.input(label, placeholder=placeholder).props("outlined dense stack-label").classes("full-width")


def _number(label: str) -> ui.number:
    field = ui.number(label, placeholder="unlimited", min=1, precision=0).props("outlined dense stack-label")
    return field.classes("full-width")


def _whole(value: Any) -> int | None:
    return None if value in (None, "") else int(value)


def _buttons(words: str, act: Callable[[], Awaitable[object]], dialog: ui.dialog) -> None:
    with box("row2"):
        ui.button(words, on_click=act).props("unelevated no-caps")
        ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
