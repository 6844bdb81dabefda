"""The door: who comes in, what is said to those who do not, and what of a request goes on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from doorway import Doorway, doorway, key_of
from openai import AuthenticationError, OpenAI, PermissionDeniedError

from router.access.keys import new_key
from router.roles import Role

SEGMENTED, EXPIRED = new_key(), new_key()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Doorway]:
    """A guard with a key of each role, one with segments and one whose time is over."""
    more = [
        key_of(SEGMENTED, "team-a", segments=("gold", "silver")),
        key_of(EXPIRED, "past", Role.ADMIN, expires=datetime(2020, 1, 1, tzinfo=UTC)),
    ]
    async with doorway(tmp_path, more) as running:
        yield running


async def _said(door: Doorway, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and error code."""
    async with door.session.request(method, path, headers=headers, allow_redirects=False) as answer:
        body = await answer.json(content_type=None)
        return answer.status, body.get("error", {}).get("code", "")


async def test_without_a_key_only_probes_and_metrics_answer(door: Doorway) -> None:
    """Everything else is a 401 in OpenAI's shape that says how to authenticate, and reaches nothing."""
    for path in ("/health", "/ready", "/metrics"):
        assert (await _said(door, "GET", path))[0] == 200
    assert door.guard.telemetry.registry.get_sample_value("alpharoute_stage_seconds_count", {"stage": "admit"}) == 3
    seen = len(door.app.scopes)
    for method, path in (
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/admin/v1/x"),
        ("GET", "/x"),
    ):
        async with door.session.request(method, path) as answer:
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="alpharoute"'
            error = (await answer.json())["error"]
            assert (error["type"], error["code"]) == ("authentication_error", "missing_api_key")
    assert len(door.app.scopes) == seen


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {new_key()}"},
        {"authorization": f"Bearer {EXPIRED}"},
        {"authorization": "Bearer hunter2"},
        {"x-api-key": new_key()},
        {"x-api-key": "ä" * 43},
        {"authorization": "Bearer " + "k" * 8000},
    ],
)
async def test_a_wrong_key_is_a_401_that_does_not_say_why(door: Doorway, headers: dict[str, str]) -> None:
    """Unknown, expired or nonsense: the answer is the same."""
    async with door.session.post("/v1/chat/completions", headers=headers) as answer:
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert (await answer.json())["error"]["message"] == "This API key is not valid."


async def test_both_headers_carry_a_key(door: Doorway) -> None:
    """OpenAI's clients send a bearer, Anthropic's x-api-key; the scheme's case does not matter."""
    key = door.keys["client"]
    for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}, {"authorization": f"bearer  {key} "}):
        assert (await _said(door, "POST", "/v1/chat/completions", headers))[0] == 200
    both = {"authorization": f"Bearer {key}", "x-api-key": key}
    assert (await _said(door, "POST", "/v1/chat/completions", both))[0] == 200


async def test_two_keys_that_differ_are_refused(door: Doorway) -> None:
    """Which of them counts is not for two parsers to disagree on."""
    headers = {"authorization": f"Bearer {door.keys['client']}", "x-api-key": door.keys["admin"]}
    assert await _said(door, "POST", "/v1/chat/completions", headers) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        ("client", "POST", "/v1/chat/completions", 200),
        ("client", "GET", "/admin/v1/decisions", 403),
        ("client", "GET", "/console", 403),
        ("client", "GET", "/console/", 403),
        ("client", "GET", "/Console", 403),
        ("operator", "GET", "/admin/v1/decisions", 200),
        ("operator", "GET", "/console", 200),
        ("operator", "POST", "/admin/v1/policies", 200),
        ("operator", "GET", "/admin/v1/keys", 403),
        ("operator", "POST", "/admin/v1/Keys", 403),
        ("operator", "DELETE", "/admin/v1/keys/team-a", 403),
        ("operator", "GET", "/admin/v1/settings", 403),
        ("admin", "POST", "/admin/v1/policies", 200),
        ("admin", "POST", "/admin/v1/keys", 200),
        ("admin", "GET", "/admin/v1/settings", 200),
        ("admin", "GET", "/console", 200),
        ("admin", "POST", "/v1/chat/completions", 200),
    ],
)
async def test_what_each_role_may(door: Doorway, role: str, method: str, path: str, status: int) -> None:
    """A role that does not reach so far is a 403 that names the one needed."""
    got = await _said(door, method, path, door.bearer(role))
    assert got == (status, "" if status == 200 else "insufficient_role")


async def test_no_key_or_cookie_goes_beyond_the_door(door: Doorway) -> None:
    """What is behind sees neither, however the headers are written."""
    headers = {**door.bearer("client"), "X-API-Key": door.keys["client"], "Cookie": "a=b", "Proxy-Authorization": "x"}
    async with door.session.post("/v1/chat/completions", headers=headers) as answer:
        assert answer.status == 200
    names = {name.lower() for name, _ in door.app.scopes[-1]["headers"]}
    assert names.isdisjoint({b"authorization", b"x-api-key", b"cookie", b"proxy-authorization"})
    assert door.keys["client"] not in repr(door.app.scopes[-1])


async def test_a_key_s_segments(door: Doorway) -> None:
    """A key with segments has the first as its own, may name the others, and no other."""
    bearer = {"authorization": f"Bearer {SEGMENTED}"}

    async def segment(**headers: str) -> tuple[int, str]:
        async with door.session.post("/v1/chat/completions", headers={**bearer, **headers}) as answer:
            body = await answer.json()
            return answer.status, body.get("headers", {}).get("x-alpharoute-segment", "")

    assert await segment() == (200, "gold")
    assert await segment(**{"x-alpharoute-segment": "silver"}) == (200, "silver")
    assert await segment(**{"X-Alpharoute-Segment": "bronze"}) == (403, "")
    assert "x-alpharoute-segment" not in await _headers_seen(door, door.bearer("client"))


async def _headers_seen(door: Doorway, headers: dict[str, str]) -> dict[str, str]:
    async with door.session.post("/v1/chat/completions", headers=headers) as answer:
        seen: dict[str, str] = (await answer.json())["headers"]
        return seen


@pytest.mark.parametrize(
    "path",
    [
        "//admin/v1/x",
        "/v1//models",
        "/v1/../admin/v1/x",
        "/v1/%2e%2e/admin/v1/x",
        "/v1/%2E./admin",
        "/v1%2fmodels",
        "/%61dmin%2Fv1/x",
        "/v1/.hidden",
        "/v1\\models",
        "/v1/%5c..%5cadmin",
        "/%252e%252e/admin",
        "/v1/mod%00els",
        "/v1/mod%0aels",
    ],
)
async def test_a_path_that_is_not_as_it_seems_is_refused(door: Doorway, path: str) -> None:
    """Dots, doubled slashes and encodings of them are a 400 for any key, before anything looks at them."""
    seen = len(door.app.scopes)
    line = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {door.keys['admin']}\r\nconnection: close\r\n\r\n"
    assert (await _raw(door, line)).startswith(b"HTTP/1.1 400")
    assert len(door.app.scopes) == seen


@pytest.mark.parametrize(
    "target", ["http://evil/admin/v1/x", "/%61dmin/v1/x", "/admin/v1/x?a=/v1/models", "/admin/v1/x#"]
)
async def test_another_spelling_of_an_admin_path_needs_the_role_too(door: Doorway, target: str) -> None:
    """An absolute URL, encoded letters or a query make no other route of it."""
    line = (
        f"GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {door.keys['client']}\r\nconnection: close\r\n\r\n"
    )
    assert (await _raw(door, line)).split(b" ")[1] in (b"403", b"400")


async def test_a_model_s_name_may_hold_a_slash(door: Doorway) -> None:
    """OpenAI's client writes it as %2F; what it stands for is still no way out of the models."""
    for path, status in (("org%2Fllama-8b", 200), ("..%2Fadmin", 400), ("%2e%2e%2f%2e%2e", 400), ("a%2F%2Fb", 400)):
        head = f"host: x\r\nx-api-key: {door.keys['client']}\r\nconnection: close\r\n\r\n"
        answer = await _raw(door, f"GET /v1/models/{path} HTTP/1.1\r\n{head}")
        assert int(answer.split(b" ")[1]) == status


async def _raw(door: Doorway, request: str) -> bytes:
    """What is answered to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rsplit(":", 1)[1]))
    writer.write(request.encode("latin-1"))
    answer = await reader.read()
    writer.close()
    return answer


async def test_too_many_or_too_large_headers_are_a_431(door: Doorway) -> None:
    """Both the number and the bytes are bounded."""
    many = {f"x-{number}": "1" for number in range(120)}
    assert await _said(door, "GET", "/health", many) == (431, "headers_too_large")
    assert await _said(door, "GET", "/health", {"x-large": "a" * 7000, **{f"x-{n}": "a" * 7000 for n in range(5)}}) == (
        431,
        "headers_too_large",
    )


async def test_refusals_are_counted_by_code(door: Doorway) -> None:
    """An operator sees a wrong key in the metrics; the key itself is nowhere."""
    await _said(door, "GET", "/v1/models")
    await _said(door, "GET", "/admin/v1/x", door.bearer("client"))
    said = door.guard.telemetry.exposition().decode()
    assert 'alpharoute_refused_requests_total{code="missing_api_key"} 1.0' in said
    assert 'alpharoute_refused_requests_total{code="insufficient_role"} 1.0' in said


@pytest.mark.parametrize(("given", "kept"), [("mine-1", True), (None, False), ("x" * 200, False)])
async def test_a_refusal_carries_the_request_s_id(door: Doorway, given: str | None, kept: bool) -> None:
    """The client's own where it is short and plain, else a new one, as every answer does."""
    headers = {} if given is None else {"x-request-id": given}
    async with door.session.post("/v1/chat/completions", headers=headers) as answer:
        said = answer.headers["x-request-id"]
        assert answer.status == 401
        assert (said == given) is kept
        assert len(said) == (len(given) if kept and given else 32)


async def test_anthropic_s_route_words_its_errors_so(door: Doorway) -> None:
    """Clients of the Messages API read its error object."""
    async with door.session.post("/v1/messages", headers={"x-api-key": "no"}) as answer:
        body = await answer.json()
        assert (answer.status, body["type"], body["error"]["type"]) == (401, "error", "authentication_error")


def _ask_as(url: str, key: str) -> None:
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        client.models.list()


async def test_openai_s_client_raises_its_own_errors(door: Doorway) -> None:
    """401 and 403 are the exceptions that a program written for OpenAI catches."""
    with pytest.raises(AuthenticationError, match="not valid"):
        await asyncio.to_thread(_ask_as, door.url, "sk-wrong")
    with pytest.raises(PermissionDeniedError):
        await asyncio.to_thread(_ask_as, f"{door.url}/admin", door.keys["client"])


async def test_websockets_are_closed(door: Doorway) -> None:
    """There is nothing to upgrade to."""
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await door.session.ws_connect("/v1/realtime")


async def test_metrics_for_a_role(tmp_path: Path) -> None:
    """Closed metrics take a scraper's key."""
    async with doorway(tmp_path, auth={"metrics_for": "operator"}) as door:
        assert (await _said(door, "GET", "/metrics"))[0] == 401
        assert (await _said(door, "GET", "/metrics", door.bearer("client")))[0] == 403
        assert (await _said(door, "GET", "/metrics", door.bearer("operator")))[0] == 200


async def test_without_keys_everybody_may_all(tmp_path: Path) -> None:
    """A service on loopback needs no key, and still hands none on."""
    async with doorway(tmp_path, auth={"keys_file": None}) as door:
        assert (await _said(door, "GET", "/console", {"authorization": "Bearer x"}))[0] == 200
        assert "authorization" not in await _headers_seen(door, {"authorization": "Bearer x"})
