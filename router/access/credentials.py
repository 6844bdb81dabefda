"""What a request says of who sends it, and the request without it: no key or cookie goes beyond the door."""

from router.access.denials import HeadersTooLarge, no_key
from router.api.head import SEGMENT
from router.api.http import RawHeaders, Scope
from router.errors import BadRequest
from router.roles import is_inside

MOST_HEADERS = 100
MOST_HEADER_BYTES = 32 * 1024
"""HAProxy in front takes 101 headers and 16 KiB of them; this bounds what comes past it."""

_SECRET = frozenset({b"authorization", b"x-api-key", b"cookie", b"proxy-authorization"})
_BEARER = "bearer "

MODELS = "/v1/models/"
"""What follows is a name, which may hold slashes: clients write them as %2F."""

_SLASHES = (b"%2f", b"%2e")


def shown_key(scope: Scope) -> str:
    """The key of a request, empty where it has none; raises Unauthorized where it carries keys that differ.

    A cookie opens nothing: other sites can make a browser send one.
    """
    keys: set[str] = set()
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.lower()
        if name in _SECRET:
            value = raw_value.decode("latin-1").strip()
            if name == b"authorization" and value.lower().startswith(_BEARER):
                keys.add(value[len(_BEARER) :].strip())
            elif name == b"x-api-key":
                keys.add(value)
    keys.discard("")
    if len(keys) > 1:
        raise no_key(presented=True)
    return next(iter(keys), "")


def without_secrets(scope: Scope, segment: str | None = None) -> Scope:
    """A copy of the scope without keys and cookies, and under this segment where one is given."""
    headers: RawHeaders = [(name, value) for name, value in scope["headers"] if name.lower() not in _SECRET]
    if segment is not None:
        headers = [(name, value) for name, value in headers if name.lower() != SEGMENT.encode()]
        headers.append((SEGMENT.encode(), segment.encode()))
    return {**scope, "headers": headers}


def check_head(scope: Scope) -> None:
    """Refuse what no client sends by accident: too many headers, and paths that are not as they seem.

    Routes are looked up by the exact path, decoded once; one that could mean another to somebody else is none.
    """
    headers = scope["headers"]
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > MOST_HEADER_BYTES:
        message = f"At most {MOST_HEADERS} headers of {MOST_HEADER_BYTES} bytes in all are read."
        raise HeadersTooLarge(message, code="headers_too_large", headers={"connection": "close"})
    path: str = scope["path"]
    if not path.startswith("/") or "//" in path or "/." in path or "\\" in path or not path.isprintable():
        raise BadRequest(
            "The path must be a plain one: no '//', '/.', backslash or control character.", code="bad_path"
        )
    encoded: bytes = (scope.get("raw_path") or b"").lower()
    # A proxy in front may keep paths apart by how they are written: those that need a role are written one way.
    tricks = (b"%",) if is_inside(path) else (b"%5c", b"%25", b"%00", *(() if path.startswith(MODELS) else _SLASHES))
    if any(trick in encoded for trick in tricks):
        raise BadRequest("The path must be a plain one: no encoded '/', '.', '\\' or '%'.", code="bad_path")
