"""The console's door: nothing but the sign-in form is served without a session, and nothing goes to other sites."""

import contextlib
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from router.access.foreign import check_foreign
from router.api.http import ClientGone, RawHeaders, Receive, Scope, Send, header_map, read_body, respond, respond_error
from router.console.admin_api import AdminApi, ApiAway
from router.console.login_page import HEADERS, login_page
from router.console.signed_in import Sessions, SignedIn, set_cookie
from router.errors import BadRequest, MethodNotAllowed, NotFound, RequestError
from router.roles import CONSOLE
from router.state.store import Clock

SESSION = "alpharoute.session"
"""Where pages find the session in their ASGI scope."""

MOST_FORM_BYTES = 2048
FORM_S = 10.0
OPEN_S = 5.0
"""How long it is believed that the service asks for no keys."""

_HTML = b"text/html; charset=utf-8"

# Vue compiles its templates in the browser and NiceGUI starts by an inline script, hence the two 'unsafe-'; texts are
# set as text everywhere, and whatever a script did, no other origin is reachable.
_FENCE: RawHeaders = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; frame-src 'none'; "
        b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]
_DROPPED = frozenset({b"x-forwarded-prefix"})
"""NiceGUI would write it into the page's addresses; it is the client's to set."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the console must know: where the Admin API is, how long a browser stays signed in, and whether a service
    without keys is meant for everybody."""

    api_url: str
    session_s: float
    allow_anonymous: bool = False


@dataclass(slots=True)
class Gate:
    """An ASGI application around the pages; it stands at /console, whether Ray Serve cut that off or not."""

    pages: object
    api: AdminApi
    sessions: Sessions
    clock_s: Clock
    allow_anonymous: bool
    _anonymous: SignedIn | None = None
    _open_until_s: float = field(default=0.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request or websocket."""
        if scope["type"] not in ("http", "websocket"):
            return
        scope = {**scope, "headers": [one for one in scope["headers"] if one[0].lower() not in _DROPPED]}
        try:
            path = _within(scope)
            if scope["type"] == "websocket":
                await self._socket(scope, receive, send)
            elif path == "/login":
                await self._login(scope, receive, send)
            elif path == "/logout":
                await self._logout(scope, send)
            else:
                await self._page(scope, receive, send)
        except ClientGone:
            return
        except RequestError as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 4000 + error.status})
            else:
                await respond_error(send, error, extra=_FENCE)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = await self._session(scope)
        if session is None:
            await _go(send, f"{CONSOLE}/login")
            return
        await self._pass(session, scope, receive, _fenced(send))

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = await self._session(scope) if _same_origin(scope) else None
        if session is None:
            await receive()
            await send({"type": "websocket.close", "code": 4401})
            return
        await self._pass(session, scope, receive, send)

    async def _pass(self, session: SignedIn, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SESSION] = session
        await self.pages(scope, receive, send)  # type: ignore[operator]  # FastAPI's own types of ASGI differ

    async def _session(self, scope: Scope) -> SignedIn | None:
        """Whose request this is; a service without keys lets in whom its API does, else raises Forbidden."""
        found = self.sessions.find(header_map(scope).get("cookie", ""))
        if found is not None:
            return found
        if self.clock_s() >= self._open_until_s:
            with contextlib.suppress(ApiAway):  # then it is what it was before
                await self._look()
        self._check_foreign(scope)
        return self._anonymous

    async def _look(self) -> None:
        """Learn whether the service asks for keys; raises ApiAway."""
        role = await self.api.role_of("")
        self._anonymous = SignedIn("", role, float("inf")) if role is not None else None
        self._open_until_s = self.clock_s() + OPEN_S

    def _check_foreign(self, scope: Scope) -> None:
        """Where no key is asked for, raise Forbidden as the routers do: they see our requests, not the browser's."""
        if self._anonymous is not None:
            asked = {**scope, "path": CONSOLE, "method": scope.get("method", "GET")}
            check_foreign(asked, anonymous=self.allow_anonymous)

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in ("GET", "HEAD"):
            if await self._session(scope) is not None:
                await _go(send, f"{CONSOLE}/")
                return
            await _form(send, 200)
            return
        _check_post(scope)
        headers = {**header_map(scope), "content-type": "application/json"}  # a form, which read_body need not judge
        key = _key_in(await read_body(headers, receive, limit_bytes=MOST_FORM_BYTES, limit_s=FORM_S))
        try:
            role = await self.api.role_of(key) if key else None
            await self._look()  # without keys any key is an admin's
        except ApiAway:
            await _form(send, 503, "No router answers now: the key cannot be checked. Try again in a moment.")
            return
        self._check_foreign(scope)
        if role is None:
            await _form(send, 401, "This key is not valid, or is no operator's.")
            return
        token = self.sessions.begin(key, role)
        await _go(send, f"{CONSOLE}/", set_cookie(token, self.sessions.lasting_s, secure=_is_secure(scope)))

    async def _logout(self, scope: Scope, send: Send) -> None:
        _check_post(scope)
        self.sessions.end(header_map(scope).get("cookie", ""))
        await _go(send, f"{CONSOLE}/login", set_cookie("", 0, secure=_is_secure(scope)))


def _within(scope: Scope) -> str:
    """The path below /console; the scope is changed so that the pages know where they stand. Raises NotFound."""
    path, root = scope["path"], scope.get("root_path", "")
    if not root and (path == CONSOLE or path.startswith(f"{CONSOLE}/")):
        scope["root_path"] = root = CONSOLE
    if root != CONSOLE:
        raise NotFound(f"There is no {path[:128]!r} here; the console is at {CONSOLE}.", code="unknown_route")
    inside = path.removeprefix(CONSOLE) or "/"
    if path == CONSOLE:
        scope["path"] = f"{CONSOLE}/"
        scope["raw_path"] = f"{CONSOLE}/".encode()
    return str(inside)


def _fenced(send: Send) -> Send:
    async def fenced(message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_FENCE]}
        await send(message)

    return fenced


async def _form(send: Send, status: int, wrong: str = "") -> None:
    await respond(send, status, login_page(wrong), _HTML, _raw(HEADERS))


async def _go(send: Send, where: str, cookie: str | None = None) -> None:
    headers = {"location": where, "cache-control": "no-store", **({"set-cookie": cookie} if cookie else {})}
    await respond(send, 303, b"", _HTML, _raw(headers))


def _raw(said: dict[str, str]) -> RawHeaders:
    return [(name.encode(), value.encode()) for name, value in said.items()]


def _key_in(form: bytes) -> str:
    try:
        return parse_qs(form.decode("latin-1"), max_num_fields=4).get("key", [""])[0].strip()
    except ValueError:  # more fields than the form has
        return ""


def _check_post(scope: Scope) -> None:
    if scope["method"] != "POST":
        raise MethodNotAllowed(f"{scope['path']} takes POST.", code="method_not_allowed", headers={"allow": "POST"})
    if not _same_origin(scope):
        raise BadRequest("This form belongs to another site.", param="origin", code="foreign_origin")


def _same_origin(scope: Scope) -> bool:
    """Whether a browser says that this comes from our own page; what is no browser names no origin."""
    headers = header_map(scope)
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _is_secure(scope: Scope) -> bool:
    return "https" in (scope.get("scheme"), header_map(scope).get("x-forwarded-proto"))
