"""The console's door: who comes in, what a cookie is good for, and that nothing of ours goes to other sites."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from service import http_server

from router.api.http import Receive, Scope, Send, respond
from router.config.settings import Settings
from router.console.admin_api import AdminApi, ApiAway, ApiRefused
from router.console.gate import SESSION, Gate
from router.console.place import told_by
from router.console.signed_in import MOST_SESSIONS, Sessions
from router.roles import Role
from router.service import Application

KEYS = {"ar-client": Role.CLIENT, "ar-operator": Role.OPERATOR, "ar-admin": Role.ADMIN}
HTML = {"accept": "text/html"}


@dataclass
class Routers:
    """What answers as the routers do; `asked` has the paths."""

    needs_keys: bool = True
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        """As the guard in front of the Admin API."""
        self.asked.append(request.path)
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        role = KEYS.get(key) if self.needs_keys else Role.ADMIN
        if role is None:
            return web.json_response({"error": {"message": "no", "code": "no_key"}}, status=401)
        needed = Role.ADMIN if request.path.endswith("/keys") else Role.OPERATOR
        if not role.covers(needed):
            return web.json_response({"error": {"message": "no", "code": "forbidden"}}, status=403)
        if not self.needs_keys and needed is Role.ADMIN:  # as a router that has no place for keys
            return web.json_response({"error": {"message": "no place", "code": "no_keys"}}, status=409)
        return web.json_response({"active": 0})


@dataclass
class Door:
    """The running gate; pages behind it tell whose request came."""

    session: aiohttp.ClientSession
    gate: Gate
    routers: Routers
    clock: list[float]

    async def sign_in(self, key: str, **headers: str) -> aiohttp.ClientResponse:
        """Through the form."""
        return await self.session.post("/console/login", data={"key": key}, headers=headers, allow_redirects=False)

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """A page; redirects are not followed."""
        async with self.session.get(path, headers={**HTML, **headers}, allow_redirects=False) as got:
            return got.status, got.headers.get("location") or await got.text()


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """What stands where NiceGUI's pages do."""
    session = scope[SESSION]
    names = [name.decode() for name, _ in scope["headers"]]
    said = f"{session.role} {scope['root_path']} {scope['path']} {'x-forwarded-prefix' in names}"
    await respond(send, 200, said.encode(), b"text/plain")


@contextlib.asynccontextmanager
async def door(*, needs_keys: bool = True, allow_anonymous: bool = False) -> AsyncIterator[Door]:
    """A gate before pages, and routers that it asks."""
    routers, clock = Routers(needs_keys), [1000.0]
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", routers.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    routers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(routers.url) as asking:
        gate = Gate(page, AdminApi(asking), Sessions(lambda: clock[0], 600.0), lambda: clock[0], allow_anonymous)

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[Gate]:
            yield gate

        async with http_server(Application(running())) as url, aiohttp.ClientSession(url, cookie_jar=jar) as session:
            yield Door(session, gate, routers, clock)
    await runner.cleanup()


async def test_without_a_key_there_is_only_the_form() -> None:
    """Every path leads there, what is no page of ours as well."""
    async with door() as there:
        for path in ("/console", "/console/", "/console/policies", "/console/_nicegui/x.js"):
            assert await there.get(path) == (303, "/console/login")
        status, form = await there.get("/console/login")
        assert status == 200
        assert "<form" in form
        assert "<script" not in form


@pytest.mark.parametrize(("key", "role"), [("ar-operator", "operator"), ("ar-admin", "admin")])
async def test_operators_and_admins_sign_in(key: str, role: str) -> None:
    """By the role that the routers give the key; the cookie says nothing of either."""
    async with door() as there:
        answer = await there.sign_in(key)
        assert answer.status == 303
        cookie = answer.headers["set-cookie"]
        assert key not in cookie
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/console"))
        assert "Secure" not in cookie
        assert await there.get("/console/policies") == (200, f"{role} /console /console/policies False")
        assert "Secure" in (await there.sign_in(key, **{"x-forwarded-proto": "https"})).headers["set-cookie"]


@pytest.mark.parametrize("key", ["ar-client", "ar-nobody", "", "x" * 2000])
async def test_others_do_not(key: str) -> None:
    """A client's key is as good as none here."""
    async with door() as there:
        answer = await there.sign_in(key)
        assert answer.status == 401
        assert "set-cookie" not in answer.headers
        assert await there.get("/console/") == (303, "/console/login")


async def test_a_session_ends() -> None:
    """By signing out, by its time, and not by a cookie that somebody made up."""
    async with door() as there:
        await there.sign_in("ar-admin")
        open_page = next(iter(there.gate.sessions._by_hash.values()))
        await there.session.post("/console/logout", allow_redirects=False)
        assert await there.get("/console/") == (303, "/console/login")
        assert not there.gate.sessions.lasts(open_page), "a page that is open notices"
        await there.sign_in("ar-admin")
        there.clock[0] += 601
        assert await there.get("/console/") == (303, "/console/login")
        there.session.cookie_jar.clear()
        assert await there.get("/console/", cookie="alpharoute_console=guess") == (303, "/console/login")


async def test_other_sites_cannot_use_a_session() -> None:
    """Their forms and their websockets name another origin; a websocket without a session is closed."""
    async with door() as there:
        assert (await there.sign_in("ar-admin", origin="http://evil.example")).status == 400
        await there.sign_in("ar-admin")
        for headers in ({"origin": "http://evil.example"}, {"origin": "null"}):
            answer = await there.session.post("/console/logout", headers=headers, allow_redirects=False)
            assert answer.status == 400
        sent: list[dict[str, Any]] = []
        for origin in (b"http://evil.example", b"http://[", b"http://here"):
            await _socket(there.gate, b"here", origin, sent)
        assert [one["type"] for one in sent] == ["websocket.close"] * 3
        assert {one["code"] for one in sent} == {4401}


async def _socket(gate: Gate, host: bytes, origin: bytes, sent: list[dict[str, Any]]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host), (b"origin", origin)]
    path = "/console/_nicegui_ws/socket.io/"
    await gate({"type": "websocket", "path": path, "root_path": "", "headers": headers}, receive, send)


async def test_pages_are_fenced() -> None:
    """Nothing but this origin may be asked, no other site frames them; a prefix that a client makes up is dropped."""
    async with door() as there:
        await there.sign_in("ar-operator")
        async with there.session.get("/console/", headers={"x-forwarded-prefix": "/evil"}) as got:
            assert (await got.text()).endswith("False")
            policy = got.headers["content-security-policy"]
        for rule in ("default-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "form-action 'self'"):
            assert rule in policy
        assert "http" not in policy


async def test_what_is_not_the_console_is_not_here() -> None:
    """Paths that only begin alike are none of its pages."""
    async with door() as there:
        for path in ("/", "/consoles", "/admin/v1/keys"):
            assert (await there.get(path))[0] == 404
        assert (await there.session.put("/console/login")).status == 405


async def test_a_service_without_keys_asks_for_none() -> None:
    """As its API, and whoever comes may all; that is asked anew every few seconds, for keys may come."""
    async with door(needs_keys=False) as there:
        assert (await there.get("/console/"))[1].startswith("admin")
        assert await there.get("/console/login") == (303, "/console/")
        asked = len(there.routers.asked)
        await there.get("/console/events")
        assert len(there.routers.asked) == asked
        there.routers.needs_keys = True
        there.clock[0] += 10
        assert await there.get("/console/") == (303, "/console/login")


EVIL = {"host": "evil.example", "origin": "http://evil.example"}
"""What a page sends whose own name was made to lead to this machine: to its browser, we are its origin."""


async def test_without_keys_a_site_s_own_name_for_this_machine_opens_nothing() -> None:
    """Neither a page nor the form, with whatever key, nor a websocket: each would be an admin's."""
    async with door(needs_keys=False) as there:
        for path in ("/console/", "/console/keys", "/console/login"):
            status, said = await there.get(path, **EVIL)
            assert (status, "foreign_host" in said) == (403, True)
        for key in ("ar-admin", "x", ""):
            answer = await there.sign_in(key, **EVIL)
            assert (answer.status, "set-cookie" in answer.headers) == (403, False)
        sent: list[dict[str, Any]] = []
        await _socket(there.gate, b"evil.example", b"http://evil.example", sent)
        assert sent == [{"type": "websocket.close", "code": 4403}]
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "ar.localhost"):
            assert (await there.get("/console/", host=host))[0] == 200


async def test_a_first_request_under_a_foreign_name_is_no_sign_in() -> None:
    """Whether keys are asked for is looked up with the key: what was known before may be of another service."""
    async with door() as there:
        assert await there.get("/console/") == (303, "/console/login")
        there.routers.needs_keys = False
        assert (await there.sign_in("x", **EVIL)).status == 403


async def test_without_keys_pages_of_other_sites_send_nothing() -> None:
    """As to the Admin API: not by a form, nor where a websocket's messages are posted."""
    async with door(needs_keys=False) as there:
        for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            async with there.session.post("/console/_nicegui_ws/socket.io/", headers=headers) as got:
                assert (got.status, "foreign_origin" in await got.text()) == (403, True)


async def test_what_is_meant_for_everybody_is_reached_by_any_name() -> None:
    """With `auth.allow_anonymous`, and with keys, whose cookie no other name has."""
    async with door(needs_keys=False, allow_anonymous=True) as there:
        assert (await there.get("/console/", **EVIL))[0] == 200
    async with door() as there:
        named = {"host": "console.example", "origin": "https://console.example"}
        assert (await there.sign_in("ar-operator", **named)).status == 303


def test_the_settings_say_whether_everybody_is_meant() -> None:
    """The console hears of `auth.allow_anonymous`."""
    assert not told_by(Settings()).allow_anonymous
    assert told_by(Settings.model_validate({"auth": {"allow_anonymous": True}})).allow_anonymous


async def test_cookies_of_other_applications_hide_no_session() -> None:
    """Cookies know no ports: whatever another application on this machine keeps in its own comes along."""
    async with door() as there:
        token = (await there.sign_in("ar-operator")).headers["set-cookie"].partition(";")[0]
        there.session.cookie_jar.clear()
        for others in ('prefs={"theme": "dark", "n": [1, 2]}', "a b=c", "=", "x", ""):
            for cookies in (f"{others}; {token}", f"{token};{others}", f"{others};{token}; y=z"):
                assert (await there.get("/console/", cookie=cookies))[0] == 200, cookies


async def test_routers_that_are_away_are_not_a_wrong_key() -> None:
    """The form says so, and to try again."""
    async with door() as there:
        there.gate.api.session = aiohttp.ClientSession("http://127.0.0.1:9")
        answer = await there.sign_in("ar-admin")
        assert answer.status == 503
        assert "No router answers" in await answer.text()
        await there.gate.api.session.close()


async def test_several_tabs_cost_one_request() -> None:
    """What a key reads twice within a moment is asked once; a change is seen at once; keys do not share answers."""
    async with door() as there:
        api, asked = there.gate.api, there.routers.asked
        for _ in range(5):
            await api.get("/overview", "ar-admin")
        assert asked.count("/admin/v1/overview") == 1
        await api.get("/overview", "ar-operator")
        assert asked.count("/admin/v1/overview") == 2
        await api.send("POST", "/policies/stop", "ar-admin", {})
        await api.get("/overview", "ar-admin")
        assert asked.count("/admin/v1/overview") == 3


async def test_refusals_and_outages_are_told_apart() -> None:
    """A router's own words are a refusal; a proxy's are an outage."""
    async with door() as there:
        with pytest.raises(ApiRefused, match="no") as refused:
            await there.gate.api.get("/keys", "ar-operator")
        assert (refused.value.status, refused.value.code) == (403, "forbidden")
        async with aiohttp.ClientSession("http://127.0.0.1:9") as nowhere:
            with pytest.raises(ApiAway):
                await AdminApi(nowhere).get("/overview", "ar-admin")


def test_sessions_do_not_grow_without_end() -> None:
    """The oldest makes room."""
    sessions = Sessions(lambda: 0.0, 60.0)
    first = sessions.begin("ar-1", Role.ADMIN)
    last = [sessions.begin("ar-2", Role.ADMIN) for _ in range(MOST_SESSIONS)][-1]
    assert sessions.find(f"alpharoute_console={first}") is None
    assert sessions.find(f"alpharoute_console={last}") is not None
    assert sessions.find("alpharoute_console=\x00;;=") is None
