"""What every page has around it: navigation, who is signed in, and how old what is shown is."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fastapi import Request
from nicegui import ui

from router.console.admin_api import AdminApi, Answer, ApiAway, ApiRefused, Body
from router.console.gate import SESSION
from router.console.pieces import text
from router.console.signed_in import Sessions, SignedIn
from router.console.style import ICON, STYLE
from router.console.trail import Trail
from router.console.wording import ago, clock
from router.roles import CONSOLE, Role

logger = logging.getLogger("alpharoute.console")

EVERY_S = 2.0
"""How often an open page asks."""

REDIS_LATE_S = 3.0
"""Since when Redis counts as away; routers exchange with it several times a second."""

NAVIGATION = {
    "/": "Overview",
    "/acceptance": "Acceptance",
    "/engines": "Engines",
    "/decisions": "Decisions",
    "/policies": "Policies",
    "/events": "Events",
}
FOR_ADMINS = {"/keys": "Keys", "/settings": "Settings"}

_SHOW_WHERE = "document.querySelector('.nav a[aria-current]')?.scrollIntoView({inline: 'center', block: 'nearest'})"
"""On a phone the navigation is wider than the screen."""


@dataclass(frozen=True, slots=True)
class Console:
    """What all pages stand on."""

    api: AdminApi
    sessions: Sessions
    trail: Trail = field(default_factory=Trail)


@dataclass(slots=True)
class View:
    """One open page of one browser."""

    console: Console
    session: SignedIn
    query: Mapping[str, str]
    banner: ui.element
    dot: ui.element
    answered_s: float = field(default_factory=time.time)

    async def get(self, path: str, **params: str) -> Body:
        """What is at a path of the Admin API; parameters that are empty are left out."""
        asked = {name: value for name, value in params.items() if value}
        return (await self.console.api.get(path, self.session.key, asked)).body

    async def send(
        self, method: str, path: str, body: Body | None, *, if_match: str = "", limit_s: float = 5.0
    ) -> Answer:
        """Change something."""
        api = self.console.api
        return await api.send(method, path, self.session.key, body, if_match=if_match, limit_s=limit_s)

    def keep(self, show: Callable[[], Awaitable[None]], every_s: float = EVERY_S) -> None:
        """Show now, and again for as long as the page is open; what fails is said in the banner and tried again."""

        async def again() -> None:
            await self.guarded(show)

        ui.timer(every_s, again)

    async def guarded(self, show: Callable[[], Awaitable[None]]) -> bool:
        """Run a step that asks; False where nothing came of it. A session that ended leads to the sign-in form."""
        if not self.console.sessions.lasts(self.session):
            ui.navigate.to("/login")
            return False
        try:
            await show()
        except ApiAway:
            self._away()
            return False
        except ApiRefused as refused:
            if refused.status in (401, 403):
                self.session.ends_s = 0.0
                ui.navigate.to("/login")
            elif refused.code == "redis_away":
                self.say("warn", str(refused))
            else:
                ui.notify(str(refused), type="negative", position="bottom-right", multi_line=True, close_button="Close")
            return False
        self.answered_s = time.time()
        return True

    async def look(self) -> None:
        """Say how old what is shown is."""
        try:
            ready = await self.console.api.ready()
        except ApiAway:
            self._away()
            return
        silent_s = (ready.get("redis") or {}).get("seconds_since_exchange")
        if silent_s is None or silent_s > REDIS_LATE_S:
            since = "has not been reached yet" if silent_s is None else f"has been away for {ago(silent_s)}"
            router = ready.get("router", "")
            self.say(
                "warn",
                f"Redis {since} (says router {router}). Requests go on with what the routers hold; figures shared "
                "between routers are as of then, and nothing can be changed.",
            )
        else:
            self.say("", "")

    def say(self, kind: str, words: str) -> None:
        """Show a banner; no words take it away."""
        self.banner.clear()
        self.banner.set_visibility(bool(words))
        self.dot.classes(replace="dot late" if words else "dot")
        if words:
            with self.banner:
                text(words, "div", f"banner {kind}")

    def _away(self) -> None:
        since = clock(self.answered_s, time.time())
        self.say(
            "bad", f"No router answers. What you see is as of {since} UTC, {ago(time.time() - self.answered_s)} ago."
        )


@contextlib.contextmanager
def framed(console: Console, request: Request, here: str) -> Iterator[View]:
    """The page around a block, which fills its main part."""
    session: SignedIn = request.scope[SESSION]
    ui.add_head_html(f"<style>{STYLE}</style>")
    ui.colors(primary="#2563eb", positive="#0b7a55", negative="#c0272d", warning="#8a5a00")
    text("Skip to content", "a", "skip").props('href="#content"')
    with ui.element("header").classes("top"), ui.element("div").classes("bar"):
        with ui.element("a").props(f'href="{CONSOLE}/"').classes("brand"):
            ui.element("img").props(f'src="{ICON}" width=22 height=22 alt=""')
            text("Alpharoute", "span")
        with ui.element("nav").classes("nav").props('aria-label="Pages"'):
            _navigation(session, here)
        with ui.element("div").classes("who"):
            dot = ui.element("span").classes("dot").props('title="how current this page is"')
            _who(session)
    with ui.element("div").classes("page").props('id="content"'):
        banner = ui.element("div").props('role="status" aria-live="polite"')
        banner.set_visibility(False)
        view = View(console, session, dict(request.query_params), banner, dot)
        yield view
    ui.timer(EVERY_S, view.look)
    ui.run_javascript(_SHOW_WHERE)


def _navigation(session: SignedIn, here: str) -> None:
    pages = {**NAVIGATION, **(FOR_ADMINS if session.role is Role.ADMIN else {})}
    for path, name in pages.items():
        link = text(name, "a").props(f'href="{CONSOLE}{path}"')
        if path == here:
            link.props('aria-current="page"')


def _who(session: SignedIn) -> None:
    if not session.key:
        text("no keys asked", "span", "role")
        return
    text(session.role.value, "span", "role")
    with ui.element("form").props(f'method="post" action="{CONSOLE}/logout"'):
        text("Sign out", "button")
