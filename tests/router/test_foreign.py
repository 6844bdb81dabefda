"""A service without keys, and the pages of other sites in the browser of whoever runs it."""

from pathlib import Path

import pytest
from doorway import doorway

from router.access.denials import Forbidden
from router.access.foreign import check_foreign
from router.api.http import Scope

HERE = "127.0.0.1:8000"
DRAFT, CHAT = "/admin/v1/policies", "/v1/chat/completions"


def _scope(method: str, path: str, **headers: str) -> Scope:
    named = {"host": HERE} | {name.replace("_", "-"): value for name, value in headers.items()}
    return {"method": method, "path": path, "headers": [(n.encode(), v.encode()) for n, v in named.items() if v]}


@pytest.mark.parametrize("anonymous", [False, True])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:3000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_no_page_of_another_site_steers(headers: dict[str, str], anonymous: bool) -> None:
    """A policy is not drafted, nor anything else written, because an operator looked at a page."""
    with pytest.raises(Forbidden) as refused:
        check_foreign(_scope("POST", DRAFT, **headers), anonymous=anonymous)
    assert refused.value.code == "foreign_origin"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "10.0.0.1:8000", "localhost.evil.example", "["])
@pytest.mark.parametrize(("method", "path"), [("GET", DRAFT), ("GET", "/v1/models"), ("POST", CHAT)])
def test_this_machine_is_not_reached_by_another_name(host: str, method: str, path: str) -> None:
    """A site's own name that resolves to loopback (DNS rebinding) would let its page read the answers too."""
    with pytest.raises(Forbidden) as refused:
        check_foreign(_scope(method, path, host=host), anonymous=False)
    assert refused.value.code == "foreign_host"
    check_foreign(_scope("GET", "/v1/models", host=host), anonymous=True)


@pytest.mark.parametrize(
    "host", [HERE, "localhost:8000", "localhost", "[::1]:8000", "127.9.9.9", "ar.localhost:80", ""]
)
def test_who_is_here_may_ask_and_steer(host: str) -> None:
    """Clients that are no browser name no origin; the machine has several names."""
    for anonymous in (False, True):
        check_foreign(_scope("POST", DRAFT, host=host), anonymous=anonymous)
        if host:
            own = {"host": host, "origin": f"http://{host}", "sec_fetch_site": "same-origin"}
            check_foreign(_scope("POST", DRAFT, **own), anonymous=anonymous)


def test_what_anybody_may_ask_a_page_of_another_site_may_ask_too() -> None:
    """A service that says it serves everybody is called by whatever pages there are, but answers probes of any name."""
    check_foreign(_scope("POST", CHAT, origin="https://app.example", host="api.example"), anonymous=True)
    check_foreign(_scope("GET", "/health", host="10.0.0.1:8000"), anonymous=False)
    with pytest.raises(Forbidden):
        check_foreign(_scope("POST", CHAT, origin="https://app.example"), anonymous=False)


async def test_the_door_asks_it_where_there_are_no_keys(tmp_path: Path) -> None:
    """With keys nothing is at stake: a browser does not send them by itself."""
    foreign = {"origin": "https://evil.example"}
    async with doorway(tmp_path, auth={"keys_file": None}) as door:
        async with door.session.post(DRAFT, headers=foreign) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (403, "foreign_origin")
        async with door.session.post(CHAT) as answer:
            assert answer.status == 200
    async with (
        doorway(tmp_path) as door,
        door.session.post(CHAT, headers={**foreign, **door.bearer("client")}) as answer,
    ):
        assert answer.status == 200
