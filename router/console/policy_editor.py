"""The editor of one policy: checked as it is typed, saved under an ETag, never losing what was typed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import ui

from router.console.admin_api import ApiRefused
from router.console.frame import View
from router.console.pieces import box, card, changes_table, text
from router.console.policy_text import Found, decorations, found_in, text_of, tooltips

PAUSE_S = 0.25
"""How long nothing is typed before the text is checked."""

KINDS = {"active": "good", "draft": "blue", "canary": "warn", "shadow": "warn"}
"""Colours of the states of a version."""

Told = Callable[[], Awaitable[None]]


class Editor:
    """A text and the version that it was made from."""

    def __init__(self, view: View, changed: Told) -> None:
        """`changed` is called when a version was opened or saved."""
        self._view = view
        self._changed = changed
        self.version: dict[str, Any] = {}
        self._saved = ""
        self._typed = 0
        self.found: list[Found] | None = None
        with box("row2"):
            self._title = text("", "h2")
            self._state = text("", "span", "chip")
        self.code = ui.codemirror("", language="YAML", indent="  ", line_wrapping=True, on_change=self._on_change)
        self.code.classes("editor").props('aria-label="policy as YAML"')
        self._problems = box("stack").props('role="status" aria-live="polite"')
        with box("row2"):
            self._why = ui.input("Why", placeholder="one sentence for whoever asks later").props("outlined dense")
            self._why.classes("grow")
            self._save = ui.button("Save", on_click=self.save).props("unelevated no-caps")
            self._revert = ui.button("Discard changes", on_click=self._discard).props("flat no-caps")

    @property
    def number(self) -> str:
        """The version's number, empty before one was opened."""
        return str(self.version.get("version", ""))

    @property
    def is_draft(self) -> bool:
        """Whether saving changes this version; anything else is copied into a new draft."""
        return self.version.get("state") == "draft" and self.version.get("version", 0) != 0

    @property
    def dirty(self) -> bool:
        """Whether the text differs from what is saved."""
        return bool(self.code.value != self._saved)

    @property
    def _is_wrong(self) -> bool:
        return any(not one.is_warning for one in self.found or ())

    async def open(self, number: str) -> None:
        """Show a version, with what was typed into it and not saved."""
        self._take(await self._view.get(f"/policies/{number}"))
        self.code.set_value(self._view.session.unsaved.get(self.number, self._saved))
        await self._check()
        await self._changed()

    async def dark(self) -> None:
        """Follow the system's choice of light and dark, which only the browser knows."""
        is_dark = await ui.run_javascript("matchMedia('(prefers-color-scheme: dark)').matches", timeout=5)
        self.code.set_theme("vscodeDark" if is_dark else "vscodeLight")

    async def save(self) -> None:
        """Save, as the draft that it is or as a new one; where another saved meanwhile, show both."""
        await self._view.guarded(self._put)

    async def _put(self) -> None:
        body = {"text": self.code.value, "why": self._why.value or ""}
        before = self.number
        try:
            if self.is_draft:
                etag = self.version["etag"]
                made = (await self._view.send("PUT", f"/policies/{before}", body, if_match=etag)).body
            else:
                made = (await self._view.send("POST", "/policies", body)).body
        except ApiRefused as refused:
            if refused.status == 412:
                self._conflict(refused.body)
                return
            if refused.code == "invalid_policy":
                self._show(found_in(self.code.value, refused.body.get("problems") or []))
                return
            raise
        self._view.session.unsaved.pop(before, None)
        self._take(made)
        self._why.value = ""
        self._show(found_in(self.code.value, [], made["warnings"]))
        ui.notify(f"Saved as version {self.number}", type="positive", position="bottom-right")
        await self._changed()

    def _take(self, version: dict[str, Any]) -> None:
        self.version = version
        self._saved = text_of(version)
        self._title.set_text("Policy of the settings" if version["version"] == 0 else f"Version {self.number}")
        self._name_state()

    def stands(self, state: str, etag: str) -> None:
        """The open version went on in its life, by whoever's doing; what is typed stays."""
        if state != self.version["state"] and etag == self.version["etag"]:
            self.version["state"] = state
            self._name_state()
            self._buttons()

    def _name_state(self) -> None:
        state = self.version["state"]
        self._state.set_text(state)
        self._state.classes(replace=f"chip {KINDS.get(state, '')}")

    async def _on_change(self) -> None:
        """Check once nothing was typed for a moment; keep what was typed, so that a reload does not lose it."""
        self._typed += 1
        typed = self._typed
        unsaved = self._view.session.unsaved
        if self.dirty:
            unsaved[self.number] = self.code.value
        else:
            unsaved.pop(self.number, None)
        await asyncio.sleep(PAUSE_S)
        if typed == self._typed and self.version:
            await self._check()

    async def _check(self) -> None:
        written = self.code.value

        async def ask() -> None:
            told = (await self._view.send("POST", "/policies/validate", {"text": written})).body
            if written == self.code.value:
                self._show(found_in(written, told["problems"], told["warnings"]))

        await self._view.guarded(ask)

    def _show(self, found: list[Found]) -> None:
        self.found = found
        self.code.decorations = decorations(found)
        self.code.line_tooltips = tooltips(found)
        self._problems.clear()
        with self._problems:
            for one in found:
                self._problem(one)
            if not self._is_wrong:
                text("✓ valid" if not self.dirty else "✓ valid, not saved", classes="good small")
        self._buttons()

    def _problem(self, one: Found) -> None:
        said, kind = (f"Warning: {one.message}", "warn") if one.is_warning else (one.message, "bad")
        with box("problem doubtful" if one.is_warning else "problem"):
            text(f"{one.path} (line {one.place.line})", classes="mono")
            text(said, classes=kind)
            if one.allowed:
                text(f"{'there are' if one.is_warning else 'allowed'}: {one.allowed}", classes="quiet small")
            if one.mended:
                ui.button(f"Use “{one.nearest}”", on_click=lambda: self._mend(one)).props("flat dense no-caps size=sm")

    def _mend(self, one: Found) -> None:
        # What was typed since is not to be replaced by what the text was then.
        if self.found and one in self.found:
            self.code.set_value(one.mended)

    def _buttons(self) -> None:
        self._save.set_text("Save draft" if self.is_draft else "Save as a new draft")
        self._save.set_enabled(self.dirty and not self._is_wrong)
        self._revert.set_visibility(self.dirty)

    async def _discard(self) -> None:
        self.code.set_value(self._saved)
        await self._check()

    def _conflict(self, error: Mapping[str, Any]) -> None:
        """Another was first: both texts stay, until the operator chose."""
        current = error["current"]
        with ui.dialog(value=True).props("persistent") as dialog, ui.card():
            text(f"Version {current['version']} was changed by {current['by'] or 'somebody'} meanwhile", "h2")
            text("Your text is still in the editor. What differs from what is saved now:")
            changes_table(error.get("changes") or [], "saved now", "yours")
            text(f"They said: {current['why']}" if current.get("why") else "", classes="quiet small")

            async def keep_mine() -> None:
                dialog.close()
                self._take(dict(current))
                await self.save()

            async def look_at_theirs() -> None:
                dialog.close()
                mine = self.code.value
                self._take(dict(current))
                self.code.set_value(self._saved)
                self._offer(mine)
                await self._changed()

            def go_on() -> None:
                dialog.close()
                # The next save is made on what is there now: what it changes was shown.
                self._take(dict(current))
                self._buttons()

            with box("row2"):
                ui.button("Go on editing mine", on_click=go_on).props("unelevated no-caps")
                ui.button("Save mine over it", on_click=keep_mine).props("outline no-caps color=negative")
                ui.button("Take theirs", on_click=look_at_theirs).props("flat no-caps")

    def _offer(self, mine: str) -> None:
        with self._problems.parent_slot.parent, card("Your text, as it was") as kept:  # type: ignore[union-attr]
            text("Not saved. It stays here until you close this page.", classes="quiet small")
            ui.codemirror(mine, language="YAML").classes("editor").props("readonly")

            def back() -> None:
                self.code.set_value(mine)
                kept.delete()

            ui.button("Bring it back into the editor", on_click=back).props("outline no-caps")
