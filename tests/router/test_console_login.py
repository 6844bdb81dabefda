"""Signing in to the console with a key: a cookie that opens reading, for as long as the key is good."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from doorway import Doorway, doorway, written

from router.access.keys import new_key, rotated
from router.access.sessions import COOKIE, Sessions

HTML = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Doorway]:
    """A guard with a key of each role."""
    async with doorway(tmp_path) as running:
        yield running


async def _sign_in(door: Doorway, key: str, **headers: str) -> aiohttp.ClientResponse:
    async with door.session.post("/console/login", data={"key": key}, headers=headers, allow_redirects=False) as answer:
        await answer.read()
        return answer


async def _status(door: Doorway, method: str, path: str, cookie: str, **headers: str) -> int:
    async with door.session.request(
        method, path, headers={"cookie": cookie, **headers}, allow_redirects=False
    ) as answer:
        return answer.status


async def _cookie(door: Doorway, name: str = "operator") -> str:
    answer = await _sign_in(door, door.keys[name])
    return f"{COOKIE}={answer.cookies[COOKIE].value}"


async def test_a_browser_without_a_key_is_led_to_the_form(door: Doorway) -> None:
    """What wants HTML is sent to the form; a program gets its 401."""
    async with door.session.get("/console", headers=HTML, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (303, "/console/login")
    async with door.session.get("/console", headers=HTML) as answer:
        assert answer.status == 200
        assert 'type="password"' in await answer.text()
    async with door.session.get("/console", allow_redirects=False) as answer:
        assert answer.status == 401


async def test_a_key_opens_the_console(door: Doorway) -> None:
    """Once signed in, the console and the admin API may be read, and what is behind never sees the cookie."""
    for name in ("operator", "admin"):
        answer = await _sign_in(door, door.keys[name])
        assert (answer.status, answer.headers["location"]) == (303, "/console")
        cookie = await _cookie(door, name)
        assert await _status(door, "GET", "/console", cookie) == 200
        assert await _status(door, "GET", "/admin/v1/decisions", cookie) == 200
        assert COOKIE not in repr(door.app.scopes[-1])


async def test_the_cookie_is_out_of_reach(door: Doorway) -> None:
    """No script reads it, no other site sends it, it does not hold the key, and over TLS it stays there."""
    answer = await _sign_in(door, door.keys["operator"])
    said = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in said.split(";")}
    assert "Secure" not in said
    assert door.keys["operator"] not in said
    assert (
        "Secure"
        in (await _sign_in(door, door.keys["operator"], **{"x-forwarded-proto": "https"})).headers["set-cookie"]
    )


async def test_the_cookie_opens_nothing_but_reading(door: Doorway) -> None:
    """A request that another site makes a browser send changes nothing, even as admin, and asks no model."""
    cookie = await _cookie(door, "admin")
    for method, path in (
        ("POST", "/admin/v1/policy"),
        ("DELETE", "/admin/v1/policy"),
        ("POST", "/v1/chat/completions"),
    ):
        assert await _status(door, method, path, cookie) == 401
    assert await _status(door, "GET", "/v1/models", cookie) == 401


@pytest.mark.parametrize("name", ["client", "nobody"])
async def test_a_key_that_may_not_is_refused(door: Doorway, name: str) -> None:
    """The form says so, and says the same of a client's key and of none."""
    answer = await _sign_in(door, door.keys.get(name, new_key()))
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


async def test_the_form_cannot_be_framed_or_sent_from_elsewhere(door: Doorway) -> None:
    """Clickjacking and a sign-in with somebody else's key need another site to hold the form."""
    async with door.session.get("/console/login") as answer:
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert answer.headers["cache-control"] == "no-store"
    for origin in ("https://evil.example", "null"):
        foreign = await _sign_in(door, door.keys["operator"], origin=origin)
        assert (foreign.status, foreign.headers.get("set-cookie")) == (403, None)
    assert (await _sign_in(door, door.keys["operator"], origin=door.url)).status == 303


@pytest.mark.parametrize(
    "tampered",
    [
        "x.9999999999.abc",
        "operator.9999999999.",
        "operator..",
        "..",
        "operator.99999999999999999999.a",
        "operator.-1.a",
        "operator.٣.a",
        "",
    ],
)
async def test_a_cookie_of_ones_own_making_is_none(door: Doorway, tampered: str) -> None:
    """Without the routers' secret there is no signature."""
    assert await _status(door, "GET", "/console", f"{COOKIE}={tampered}") == 401


async def test_no_part_of_a_cookie_may_be_changed(door: Doorway) -> None:
    """A later end or another key's name does not fit the signature."""
    name, ends, signature = (await _cookie(door)).removeprefix(f"{COOKIE}=").split(".")
    assert await _status(door, "GET", "/console", f"{COOKIE}={name}.{ends}.{signature}") == 200
    assert await _status(door, "GET", "/console", f"{COOKIE}={name}.{int(ends) + 1}.{signature}") == 401
    assert await _status(door, "GET", "/console", f"{COOKIE}=admin.{ends}.{signature}") == 401


async def test_rotating_or_revoking_the_key_ends_the_session(tmp_path: Path, door: Doorway) -> None:
    """The cookie stands for the key as it was."""
    cookie = await _cookie(door)
    key = door.guard.keys.ring.named("operator")
    assert key is not None
    written(tmp_path / "keys.json", [rotated(key, new_key(), None)])
    await door.guard.keys.refresh()
    assert await _status(door, "GET", "/console", cookie) == 401
    written(tmp_path / "keys.json", [])
    await door.guard.keys.refresh()
    assert await _status(door, "GET", "/console", cookie) == 401


async def test_a_session_ends(door: Doorway) -> None:
    """At its end, and when somebody signs out."""
    key = door.guard.keys.ring.named("operator")
    assert key is not None
    sessions = Sessions(b"s" * 32, lasting_s=60)
    header = sessions.cookie(key, 1000.0, secure=False).partition(";")[0]
    assert sessions.key_of(header, door.guard.keys.ring, 1059.0) == key
    assert sessions.key_of(header, door.guard.keys.ring, 1060.0) is None
    assert Sessions(b"t" * 32, lasting_s=60).key_of(header, door.guard.keys.ring, 1059.0) is None
    async with door.session.post("/console/logout", allow_redirects=False) as answer:
        assert answer.status == 303
        assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_odd_forms_are_answered(door: Doorway) -> None:
    """Too large, too many fields, no form at all, another method: an error each, never a 500."""
    for body, status in ((b"k" * 4000, 413), (b"&".join([b"a=1"] * 50), 401), (b"\xff\x00%zz", 401), (b"", 401)):
        async with door.session.post("/console/login", data=body) as answer:
            assert answer.status == status
    async with door.session.put("/console/login") as answer:
        assert answer.status == 405
    async with door.session.get("/console/logout") as answer:
        assert answer.status == 405


async def test_pages_of_the_service_are_fenced(door: Doorway) -> None:
    """What needs a role is not kept by caches nor framed by others; answers of models are left as they are."""
    for path in ("/console", "/admin/v1/decisions"):
        async with door.session.get(path, headers=door.bearer("operator")) as answer:
            assert answer.headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    async with door.session.get("/v1/models", headers=door.bearer("operator")) as answer:
        assert "content-security-policy" not in answer.headers
