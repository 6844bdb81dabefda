"""Policies: edit, try, put in force, go back; and who did what before."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from nicegui import ui

from router.console import policy_reports
from router.console.frame import View
from router.console.pieces import Table, box, card, changes_table, text
from router.console.policy_editor import Editor
from router.console.policy_rows import HISTORY, VERSIONS, history_row, named, stopped_by_itself, version_row
from router.console.wording import ago, clock
from router.roles import CONSOLE

REPLAYED = 1000
_TO_RESULTS = "document.getElementById('results').scrollIntoView({block: 'start'})"
SHARES = {0.01: "1 %", 0.05: "5 %", 0.1: "10 %", 0.25: "25 %", 0.5: "50 %"}


def build(view: View) -> None:
    """The page; `?version=` opens one, the one in force otherwise."""
    _Policies(view).build()


class _Policies:
    def __init__(self, view: View) -> None:
        self.view = view
        self.active = 0
        self.tried: list[int] = []
        self._trials_shown: object = None
        self._stopped: list[tuple[float, str]] = []

    def build(self) -> None:
        """All parts, top to bottom."""
        with box("title"):
            text("Policies", "h1")
            self.standing = text("", "span", "quiet")
            ui.button("Roll back", icon="undo", on_click=self._rollback).props(
                "outline no-caps dense padding='2px 10px'"
            )
        self.trials = box("stack")
        with box("side wide"):
            with card(classes="stack"):
                self.editor = Editor(self.view, self._opened)
            with card(classes="stack"):
                self._steps()
        with card() as results:
            results.props('id="results"')
            self._results()
        ui.timer(0.05, self._start, once=True)
        self.view.keep(self._show)

    def _steps(self) -> None:
        text("Try it before it counts", "h2")
        for number, (name, about, act) in enumerate(
            (
                ("Dry run", "Replay the last decisions under it. Nothing is served by it.", self._dry_run),
                ("Shadow", "Decide with it beside the active policy, on live traffic, without acting.", self._shadow),
                ("Canary", "Let it serve a share; it stops by itself where it is worse.", self._canary),
                ("Activate", "Put it in force in every router.", self._activate),
            ),
            1,
        ):
            with box("step"):
                ui.button(f"{number} · {name}", on_click=act).props("outline no-caps align=left").classes("full-width")
                text(about, classes="quiet small")

    def _results(self) -> None:
        with ui.tabs().props("dense no-caps align=left inline-label") as self.tabs:
            for name in ("Changes", "Dry run", "Versions", "History"):
                ui.tab(name)
        with ui.tab_panels(self.tabs, value="Changes").props("animated=false"):
            with ui.tab_panel("Changes"):
                self.changes = box("stack")
            with ui.tab_panel("Dry run"):
                self.report = box("stack")
                with self.report:
                    text("No dry run yet.", classes="quiet")
            with ui.tab_panel("Versions"):
                self.versions = Table(VERSIONS, "version", "No version was made yet")
            with ui.tab_panel("History"):
                self.history = Table(HISTORY, "id", "Nobody has changed anything yet")

    async def _start(self) -> None:
        await self.editor.dark()
        wanted = self.view.query.get("version", "active")
        await self.view.guarded(lambda: self.editor.open(wanted))

    async def _opened(self) -> None:
        """Another version is in the editor, or it was saved: show what it changes."""
        number = self.editor.number
        ui.run_javascript(f"history.replaceState(null, '', '{CONSOLE}/policies?version={int(number)}')")
        told = await self.view.get(f"/policies/{number}/diff")
        self.changes.clear()
        with self.changes:
            if told["against"] == told["version"]:
                text("This is the version in force.", classes="quiet")
            else:
                text(f"Against {named(told['against'])}, which is in force:", classes="quiet small")
                changes_table(told["changes"], "in force", f"version {number}")

    async def _show(self) -> None:
        status = await self.view.get("/policies/status")
        told = await self.view.get("/policies")
        trail = (await self.view.get("/policies/history", limit="100"))["history"]
        now_s = time.time()
        self._stand(status, now_s)
        for one in told["versions"]:
            if str(one["version"]) == self.editor.number:
                self.editor.stands(one["state"], one["etag"])
        self.versions.show([version_row(one, now_s) for one in told["versions"]])
        self.history.show([history_row(one, at, now_s) for at, one in enumerate(trail)])
        self._show_trials(status, trail, now_s)

    def _stand(self, status: Mapping[str, Any], now_s: float) -> None:
        was, self.active = self.active, int(status["active"])
        name = f"Version {self.active}" if self.active else f"The policy of the {status['source']}"
        by = f" · {status['by']}" if status["by"] else ""
        since = f" · for {ago(now_s - status['since_s'])}" if status["since_s"] else ""
        self.standing.set_text(f"In force: {name}{by}{since}")
        if was != self.active and self.editor.number:
            # What is open may have become the active one, or it no longer is; what was typed is kept by the editor.
            ui.timer(0.05, lambda: self.view.guarded(lambda: self.editor.open(self.editor.number)), once=True)

    def _show_trials(self, status: Mapping[str, Any], trail: Sequence[Mapping[str, Any]], now_s: float) -> None:
        running = {kind: status[kind] for kind in ("canary", "shadow") if status.get(kind)}
        # A canary that ended by itself stays in sight: whoever comes back to the page wants to know why.
        ended = stopped_by_itself(trail) if "canary" not in running else None
        self.trials.clear()
        with self.trials:
            for kind, one in running.items():
                self._trial(kind, one, now_s)
            if status.get("problem"):
                with box("banner warn"):
                    text(f"This router goes on with what it had: {status['problem']}")
            if ended is not None:
                with box("banner bad"), box(""):
                    when = clock(float(ended["at_s"]), now_s)
                    text(f"The canary of version {ended['version']} was stopped at {when} UTC", classes="strong")
                    text(ended["why"])

    def _trial(self, kind: str, one: Mapping[str, Any], now_s: float) -> None:
        with card(classes="stack"):
            with box("row2"):
                text("Canary" if kind == "canary" else "Shadow", "span", "chip warn")
                text(policy_reports.trial_line(kind, one["trial"], now_s), "span")
                version = int(one["trial"]["version"])
                ui.button("Stop", on_click=lambda: self._stop(version)).props("outline dense no-caps color=negative")
            if kind == "canary":
                policy_reports.canary(one["report"])
            elif one["report"]["total"]["decisions"]:
                total = one["report"]["total"]
                policy_reports.verdict(total, total["decisions"])
            else:
                text("No request was decided by both yet.", classes="quiet")

    def _ready_to_try(self) -> bool:
        if self.editor.dirty:
            ui.notify("Save the text first: what is tried is what is saved.", type="warning", position="bottom-right")
        return not self.editor.dirty

    async def _dry_run(self) -> None:
        if not self._ready_to_try():
            return
        number = self.editor.number
        self.tabs.set_value("Dry run")
        self.report.clear()
        with self.report:
            ui.spinner()

        async def ask() -> None:
            body = {"last": REPLAYED}
            told = (await self.view.send("POST", f"/policies/{number}/dry-run", body, limit_s=60.0)).body
            self.report.clear()
            with self.report:
                text(f"Version {number} against {named(self.active)}, which is in force", "h2")
                policy_reports.dry_run(told)
            ui.run_javascript(_TO_RESULTS)

        if not await self.view.guarded(ask):
            self.report.clear()

    async def _shadow(self) -> None:
        self._asked("shadow", "Shadow", "Decide with it too, in every router, and compare.")

    async def _canary(self) -> None:
        if not self._ready_to_try():
            return
        with _dialog(f"Canary of version {self.editor.number}") as dialog:
            share = (
                ui.select(SHARES, value=0.1, label="Share of the traffic").props("outlined dense").classes("full-width")
            )
            unit = ui.radio({"request": "of requests", "segment": "of segments, each whole"}, value="request")
            unit.props("inline dense")
            segments = (
                ui.input("Segments that take part", placeholder="all").props("outlined dense").classes("full-width")
            )
            why = _why()

            async def act() -> None:
                named = [one.strip() for one in (segments.value or "").split(",") if one.strip()]
                body = {"share": share.value, "by": unit.value, "segments": named, "why": why.value or ""}
                await self._do(f"/policies/{self.editor.number}/canary", body, "The canary runs")

            self._buttons(dialog, "Start the canary", act)

    async def _activate(self) -> None:
        self._asked("activate", "Activate", "Put it in force in every router.", if_active=True)

    def _asked(self, path: str, name: str, about: str, *, if_active: bool = False) -> None:
        if not self._ready_to_try():
            return
        number = self.editor.number
        with _dialog(f"{name}: version {number}") as dialog:
            text(about, classes="quiet")
            why = _why()

            async def act() -> None:
                body: dict[str, Any] = {"why": why.value or ""}
                if if_active:
                    # What is replaced is what this page showed: another operator's version is not undone unseen.
                    body["if_active"] = self.active
                await self._do(f"/policies/{number}/{path}", body, f"{name}: done")

            self._buttons(dialog, name, act)

    def _rollback(self) -> None:
        with _dialog("Roll back") as dialog:
            text("The version that was in force before is put in force again, in every router, within two seconds.")
            why = _why()

            async def act() -> None:
                await self._do("/policies/rollback", {"why": why.value or ""}, "Rolled back")

            self._buttons(dialog, "Roll back now", act)

    def _stop(self, version: int) -> None:
        with _dialog(f"Stop the trial of version {version}") as dialog:
            why = _why()

            async def act() -> None:
                await self._do("/policies/stop", {"version": version, "why": why.value or ""}, "Stopped")

            self._buttons(dialog, "Stop it", act)

    async def _do(self, path: str, body: dict[str, Any], done: str) -> None:
        await self.view.send("POST", path, body)
        ui.notify(done, type="positive", position="bottom-right")
        await self._show()
        await self.editor.open(self.editor.number)

    def _buttons(self, dialog: ui.dialog, name: str, act: Callable[[], Awaitable[None]]) -> None:
        async def pressed() -> None:
            dialog.close()
            await self.view.guarded(act)

        with box("row2"):
            ui.button(name, on_click=pressed).props("unelevated no-caps")
            ui.button("Cancel", on_click=dialog.close).props("flat no-caps")


@contextlib.contextmanager
def _dialog(title: str) -> Iterator[ui.dialog]:
    """A dialog's card, to be filled."""
    with ui.dialog(value=True) as dialog, ui.card():
        text(title, "h2")
        yield dialog


def _why() -> ui.input:
    return ui.input("Why", placeholder="for whoever asks later").props("outlined dense autofocus").classes("full-width")
