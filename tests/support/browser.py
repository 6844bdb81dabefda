"""A headless Chromium, as Debian packages it, driven by Playwright; tests skip where there is none, and say so."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE = (375, 812)
DESK = (1280, 900)


def chromium_path() -> str:
    """Where Chromium is; skips the test where it is not."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on PATH: `make browser` installs Debian's (apt-get install chromium)")
    return found


class Browsing:
    """A browser whose pages must stay on one origin and raise no error in any script."""

    def __init__(self, context: "BrowserContext", base: str) -> None:
        self._context = context
        self.base = base
        self.foreign: list[str] = []
        self.errors: list[str] = []

    def page(self) -> "Page":
        """A new tab."""
        page = self._context.new_page()
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url.replace("ws:", "http:", 1)))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "data:", "blob:")):
            self.foreign.append(url)


@contextlib.contextmanager
def browsing(base: str, *, phone: bool = False, dark: bool = False) -> Iterator[Browsing]:
    """A browser with a profile of its own; fails where a page asked another origin or a script failed."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        width, height = PHONE if phone else DESK
        scheme: Literal["dark", "light"] = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(20_000)
        found = Browsing(context, base)
        yield found
        context.close()
        browser.close()
    assert found.foreign == [], "a page asked elsewhere"
    assert found.errors == [], "a script failed"


def picture(page: "Page", name: str, folder: Path | None) -> None:
    """A screenshot, where somebody wants them."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", style=".q-notifications { display: none }")
