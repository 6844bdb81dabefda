"""The console in a real browser: real router and HAProxy, simulated engines, real Redis.

With CONSOLE_PICTURES set to a folder, pictures are written there.
"""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import browsing, chromium_path, picture
from deployed import Deployed, deployed
from doorway import key_of, written

from router.access.keys import new_key
from router.roles import Role

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(420)]

PICTURES = Path(folder) if (folder := os.environ.get("CONSOLE_PICTURES")) else None
SETTINGS = """
pools:
  - {name: vanilla, engine: simulator, simulator: {time_scale: 6}}
  - {name: draft, engine: simulator, drafter: small, method: draft_model, k_max: 4, simulator: {time_scale: 6}}
auth: {keys_file: KEYS}
decisions: {per_s: 200}
"""
TASKS = ("sql_generation", "code_generation", "mathematics", "creative_writing")


@dataclass
class Watched:
    """A service with its keys, and clients that ask it all the time."""

    service: Deployed
    keys: dict[str, str]
    failed: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def console(self) -> str:
        """Where the console is."""
        return f"{self.service.url}/console"

    def ask(self, method: str, path: str, body: object = None, *, key: str = "admin", etag: str = "") -> Any:
        """A request to the API, as a client without a browser makes it."""
        headers = {"x-api-key": self.keys[key], "content-type": "application/json"}
        headers |= {"if-match": etag} if etag else {}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.service.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def chat(self, at: int) -> None:
        """Ask one after another until the end; a failure is noted."""
        while not self.ended.is_set():
            at += 1
            task = TASKS[at % len(TASKS)]
            messages = [{"role": "user", "content": f"[task:{task}] hello"}]
            body = {"model": "demo", "messages": messages, "max_tokens": 48, "temperature": 0}
            try:
                self.ask("POST", "/v1/chat/completions", body, key="client")
            except (urllib.error.URLError, OSError) as error:
                self.failed.append(str(error))


@pytest.fixture(scope="module")
def watched(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One service for all tests here, under load."""
    chromium_path()
    folder = tmp_path_factory.mktemp("console")
    keys = {role.value: new_key() for role in Role}
    file = written(folder / "keys.json", [key_of(secret, f"ana-{role}", Role(role)) for role, secret in keys.items()])
    config = folder / "settings.yaml"
    config.write_text(SETTINGS.replace("KEYS", str(file)))
    with deployed(redis_url, folder, "--config", str(config)) as service:
        found = Watched(service, keys)
        clients = [threading.Thread(target=found.chat, args=(at,)) for at in range(4)]
        for client in clients:
            client.start()
        yield found
        found.ended.set()
        for client in clients:
            client.join(60)


def sign_in(page: "Page", watched: Watched, key: str = "operator") -> None:
    """Through the form."""
    page.goto(f"{watched.console}/")
    page.get_by_label("A key with the role").fill(watched.keys[key])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{watched.console}/")


def until(good: Callable[[], bool], what: str, limit_s: float = 30) -> None:
    """Wait for what no element of a page tells, a deadline at most."""
    deadline = time.monotonic() + limit_s
    while not good():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)


def write(page: "Page", text: str) -> None:
    """Type a policy in place of what is in the editor, by keyboard."""
    page.locator(".cm-content").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def open_policies(page: "Page", watched: Watched) -> None:
    """The policy page, once its editor has a text."""
    page.goto(f"{watched.console}/policies")
    page.get_by_text("✓ valid").wait_for()


def dialog(page: "Page") -> "Locator":
    """The open dialog."""
    return page.get_by_role("dialog")


def test_only_operators_come_in(watched: Watched) -> None:
    """None without a key; a client's is refused; an operator sees neither keys nor settings, an admin does."""
    with browsing(watched.service.url) as browser:
        page = browser.page()
        page.goto(f"{watched.console}/policies")
        assert page.url.endswith("/console/login")
        picture(page, "sign-in", PICTURES)
        page.get_by_label("A key with the role").fill(watched.keys["client"])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()
        sign_in(page, watched)
        assert page.get_by_role("link", name="Keys").count() == 0
        page.goto(f"{watched.console}/keys")
        page.get_by_text("needs a key with the role admin").wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/console/login")
        sign_in(page, watched, "admin")
        page.get_by_role("link", name="Keys").click()
        page.get_by_text("ana-operator").wait_for()
        picture(page, "keys", PICTURES)
        assert watched.keys["operator"] not in page.content()
        page.get_by_role("link", name="Settings").click()
        page.get_by_text("Only what is not the default").click()
        page.get_by_role("cell", name="auth.keys_file", exact=True).wait_for()
        picture(page, "settings", PICTURES)


def test_a_policy_from_a_mistake_to_a_rollback(watched: Watched) -> None:
    """Wrong and why, mended, dry run, canary, stopped by the routers because it is worse, activated anyway, undone."""
    with browsing(watched.service.url) as browser:
        page = browser.page()
        sign_in(page, watched)
        open_policies(page, watched)
        write(page, "# everything to vanilla, by mistake\nkill_swich: true\n")
        page.get_by_text("kill_swich (line 2)").wait_for()
        page.get_by_text("unknown field").first.wait_for()
        assert page.get_by_role("button", name="Save as a new draft").is_disabled()
        picture(page, "policy-wrong", PICTURES)
        page.get_by_role("button", name="Use “kill_switch”").click()
        page.get_by_text("✓ valid, not saved").wait_for()
        page.get_by_label("Why").fill("an experiment")
        page.get_by_role("button", name="Save as a new draft").click()
        page.get_by_text("Saved as version").wait_for()
        number = page.url.rpartition("=")[2]
        assert watched.ask("GET", f"/admin/v1/policies/{number}")["document"] == {"kill_switch": True}

        page.get_by_role("button", name="1 · Dry run").click()
        page.get_by_text("slower").first.wait_for()
        assert page.locator("canvas:visible").count() >= 3
        picture(page, "dry-run", PICTURES)

        page.get_by_role("button", name="3 · Canary").click()
        dialog(page).get_by_label("Why").fill("does it hold?")
        dialog(page).get_by_text("10 %").click()
        page.get_by_role("option", name="50 %").click()
        dialog(page).get_by_role("button", name="Start the canary").click()
        page.get_by_text(f"Version {number} on 50").wait_for()
        compared = page.get_by_role("row", name="Requests").get_by_role("cell").nth(1)
        until(lambda: compared.inner_text() not in ("", "0", "–"), "the canary is compared")
        picture(page, "canary", PICTURES)
        page.get_by_text(f"The canary of version {number} was stopped").wait_for(timeout=120_000)
        picture(page, "canary-stopped", PICTURES)
        assert watched.ask("GET", "/admin/v1/policies/status")["canary"] is None

        page.get_by_role("button", name="4 · Activate").click()
        dialog(page).get_by_role("button", name="Activate").click()
        page.get_by_text(f"In force: Version {number}").wait_for()
        page.get_by_role("button", name="Roll back").click()
        dialog(page).get_by_role("button", name="Roll back now").click()
        page.get_by_text("In force: The policy of the settings").wait_for()
        assert watched.ask("GET", "/admin/v1/policies/status")["active"] == 0
        page.get_by_role("tab", name="History").click()
        page.get_by_role("cell", name="rollback").first.wait_for()
        picture(page, "history", PICTURES)
    assert watched.failed == []


def test_two_operators_at_once_lose_nothing(watched: Watched) -> None:
    """The second to save is told what differs; the text stays in the editor, over a reload too."""
    made = watched.ask("POST", "/admin/v1/policies", {"text": "observe_only: false\n", "why": "mine"})
    with browsing(watched.service.url) as browser:
        page = browser.page()
        sign_in(page, watched)
        page.goto(f"{watched.console}/policies?version={made['version']}")
        page.get_by_text("✓ valid").wait_for()
        write(page, "tasks:\n  legal_analysis: {mode: vanilla}\n")
        page.get_by_text("✓ valid, not saved").wait_for()
        page.reload()
        page.get_by_text("✓ valid, not saved").wait_for()
        assert "legal_analysis" in page.locator(".cm-content").first.inner_text()
        theirs = {"text": "exploration: {budget: 0}\n", "why": "less exploration"}
        watched.ask("PUT", f"/admin/v1/policies/{made['version']}", theirs, etag=made["etag"])
        page.get_by_role("button", name="Save draft").click()
        dialog(page).get_by_text("was changed by ana-admin meanwhile").wait_for()
        dialog(page).get_by_text("tasks").first.wait_for()
        picture(page, "conflict", PICTURES)
        dialog(page).get_by_role("button", name="Go on editing mine").click()
        assert "legal_analysis" in page.locator(".cm-content").first.inner_text()
        page.get_by_role("button", name="Save draft").click()
        page.get_by_text("Saved as version").wait_for()
    now = watched.ask("GET", f"/admin/v1/policies/{made['version']}")
    assert now["document"] == {"tasks": {"legal_analysis": {"mode": "vanilla"}}}


def test_a_decision_is_explained(watched: Watched) -> None:
    """From the list by a link, by keyboard alone: features, the score of every alternative, the reason."""
    with browsing(watched.service.url) as browser:
        page = browser.page()
        sign_in(page, watched)
        page.goto(f"{watched.console}/decisions?task=sql_generation")
        link = page.locator("td a").first
        link.wait_for()
        link.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/decisions?id=*")
        page.get_by_text("Score of every alternative").wait_for()
        page.get_by_role("columnheader", name="k = 4").wait_for()
        assert page.locator("td.picked").count() == 1
        page.get_by_role("cell", name="draft", exact=True).first.wait_for()
        assert "[object" not in page.locator("#content").inner_text()
        page.get_by_text("was taken for sql_generation").wait_for()
        picture(page, "decision", PICTURES)


def test_a_phone_in_the_dark_shows_every_page(watched: Watched) -> None:
    """375 px: nothing is wider than the screen; the system's dark scheme is followed."""
    pages = {"": "Overview", "acceptance": "Acceptance", "engines": "Engines", "decisions": "Decisions"}
    with browsing(watched.service.url, phone=True, dark=True) as browser:
        page = browser.page()
        sign_in(page, watched)
        for path, name in {**pages, "policies": "Policies", "events": "Events"}.items():
            page.goto(f"{watched.console}/{path}")
            page.get_by_role("heading", name=name, exact=True).wait_for()
            page.locator("body.body--dark").wait_for()
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= 375, name
            picture(page, f"phone-{name.lower()}", PICTURES)


def test_the_pages_are_live(watched: Watched) -> None:
    """The overview counts on while it is open; acceptance and engines show what there is."""
    with browsing(watched.service.url) as browser:
        page = browser.page()
        sign_in(page, watched)
        requests = page.locator(".kpi .value").first
        until(lambda: requests.inner_text() not in ("", "–"), "requests are counted")
        before = requests.inner_text()
        until(lambda: requests.inner_text() != before, "they are counted on")
        page.locator("canvas:visible").nth(3).wait_for(timeout=60_000)
        picture(page, "overview", PICTURES)
        page.goto(f"{watched.console}/acceptance")
        page.locator("td a").first.click()
        page.get_by_text("Over time").wait_for()
        page.locator("canvas:visible").first.wait_for()
        picture(page, "acceptance", PICTURES)
        page.goto(f"{watched.console}/engines")
        page.get_by_role("cell", name="draft_model").wait_for()
        page.get_by_role("button", name="Steer draft").first.wait_for()
        picture(page, "engines", PICTURES)
