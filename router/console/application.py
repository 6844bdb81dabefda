"""The console as an ASGI application: NiceGUI's pages behind the gate."""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable

# NiceGUI makes a folder for its storage where it is imported; nothing is stored, and the working directory is not ours.
os.environ.setdefault("NICEGUI_STORAGE_PATH", os.path.join(tempfile.gettempdir(), "alpharoute-console"))

import aiohttp
from fastapi import FastAPI, Request
from nicegui import ui

from router.console import (
    page_acceptance,
    page_decisions,
    page_engines,
    page_events,
    page_keys,
    page_overview,
    page_policies,
    page_settings,
)
from router.console.admin_api import AdminApi
from router.console.frame import FOR_ADMINS, NAVIGATION, Console, View, framed
from router.console.gate import Gate, Told
from router.console.pieces import text
from router.console.signed_in import Sessions
from router.console.style import ICON
from router.roles import Role
from router.state.store import Clock

RECONNECT_S = 20.0
"""How long a page whose connection broke keeps its state here."""

_PAGES: dict[str, Callable[[View], None]] = {
    "/": page_overview.build,
    "/acceptance": page_acceptance.build,
    "/engines": page_engines.build,
    "/decisions": page_decisions.build,
    "/policies": page_policies.build,
    "/events": page_events.build,
    "/keys": page_keys.build,
    "/settings": page_settings.build,
}


@contextlib.asynccontextmanager
async def running_console(told: Told, clock_s: Clock = time.time) -> AsyncIterator[Gate]:
    """The application for as long as the context lasts; one in a process, for NiceGUI's pages belong to the process."""
    sessions = Sessions(clock_s, told.session_s)
    async with aiohttp.ClientSession(told.api_url, connector=aiohttp.TCPConnector(limit=32)) as session:
        api = AdminApi(session)
        app = _pages(Console(api, sessions))
        async with app.router.lifespan_context(app):
            yield Gate(app, api, sessions, clock_s, told.allow_anonymous)
            # Pages that are open ask no more.
            await asyncio.sleep(0)


def _pages(console: Console) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for path, name in {**NAVIGATION, **FOR_ADMINS}.items():
        ui.page(path, title=f"{name} · Alpharoute")(_page(console, path))
    ui.run_with(
        app,
        title="Alpharoute",
        favicon=ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=RECONNECT_S,
    )
    return app


def _page(console: Console, path: str) -> Callable[[Request], None]:
    def shown(request: Request) -> None:
        with framed(console, request, path) as view:
            if path in FOR_ADMINS and view.session.role is not Role.ADMIN:
                text("This page needs a key with the role admin.")
                return
            _PAGES[path](view)

    return shown
