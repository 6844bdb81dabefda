"""Signing in to the console: a form takes a key, a cookie stands for it from then on."""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from router.access.denials import Forbidden
from router.access.keys import Key
from router.access.known_keys import KnownKeys
from router.access.login_page import HEADERS, LOGIN, LOGOUT, login_page
from router.access.sessions import ended_cookie
from router.api.http import RawHeaders, Receive, Scope, Send, header_map, read_body, respond
from router.errors import MethodNotAllowed
from router.roles import CONSOLE, Role
from router.state.store import Clock

MOST_FORM_BYTES = 2048
FORM_S = 10.0
_HTML = b"text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Login:
    """Serves /console/login and /console/logout."""

    keys: KnownKeys
    clock_s: Clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to either."""
        if scope["path"] == LOGIN and scope["method"] in ("GET", "HEAD"):
            await respond(send, 200, login_page(), _HTML, _headers(HEADERS))
            return
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST.", code="method_not_allowed", headers={"allow": "POST"})
        _check_origin(scope)
        if scope["path"] == LOGOUT:
            await _go(send, LOGIN, ended_cookie(secure=_is_secure(scope)))
        else:
            await self._sign_in(scope, receive, send)

    async def invite(self, send: Send) -> None:
        """Send a browser to the form."""
        await _go(send, LOGIN)

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {**header_map(scope), "content-type": "application/json"}  # a form, which read_body need not judge
        form = await read_body(headers, receive, limit_bytes=MOST_FORM_BYTES, limit_s=FORM_S)
        key = self._key_of(form)
        if key is None:
            page = login_page("This key is not valid, or is no operator's.")
            await respond(send, 401, page, _HTML, _headers(HEADERS))
            return
        cookie = self.keys.sessions.cookie(key, self.clock_s(), secure=_is_secure(scope))
        await _go(send, CONSOLE, cookie)

    def _key_of(self, form: bytes) -> Key | None:
        try:
            presented = parse_qs(form.decode("latin-1"), max_num_fields=4).get("key", [""])[0].strip()
        except ValueError:  # more fields than the form has
            return None
        key = self.keys.ring.find(presented, self.clock_s())
        return key if key is not None and key.role.covers(Role.OPERATOR) else None


async def _go(send: Send, where: str, cookie: str | None = None) -> None:
    headers = {"location": where, "cache-control": "no-store", **({"set-cookie": cookie} if cookie else {})}
    await respond(send, 303, b"", _HTML, _headers(headers))


def _headers(said: dict[str, str]) -> RawHeaders:
    return [(name.encode(), value.encode()) for name, value in said.items()]


def _check_origin(scope: Scope) -> None:
    """A form of another site must not sign a browser in or out; browsers tell where a form stands."""
    headers = header_map(scope)
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        raise Forbidden("This form belongs to another site.", param="origin", code="foreign_origin")


def _is_secure(scope: Scope) -> bool:
    return "https" in (scope.get("scheme"), header_map(scope).get("x-forwarded-proto"))
