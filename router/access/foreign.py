"""Who asks where no key says it: a browser may, for another site, and must not.

A page of any site can make a browser send requests to this machine, and by a name of its own that leads here (DNS
rebinding) even read the answers. Keys are no part of what a browser sends by itself, so with them nothing is at stake.
"""

from urllib.parse import urlsplit

from router.access.denials import Forbidden
from router.access.exposure import is_loopback
from router.api.http import Scope, header_map
from router.roles import METRICS, PROBES, READING, is_inside

_OTHERS = frozenset({"cross-site", "same-site"})
"""What a browser's `sec-fetch-site` says of a request for another site."""


def check_foreign(scope: Scope, *, anonymous: bool) -> None:
    """Raise Forbidden for a request of another site; `anonymous` services are reached by any name and may be called by
    pages of other sites, but not steered by them."""
    path, headers = scope["path"], header_map(scope)
    if path in PROBES or path == METRICS:
        return
    host = headers.get("host", "")
    if host and not anonymous and not _is_here(host):
        message = (
            f"Without keys only this machine is served, and by its own name, not as {host[:64]!r}: "
            "set auth.keys_file, auth.redis_keys or auth.allow_anonymous."
        )
        raise Forbidden(message, param="host", code="foreign_host")
    if scope["method"] in READING or (anonymous and not is_inside(path)):
        return
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") in _OTHERS or (origin is not None and origin.partition("://")[2] != host):
        raise Forbidden("This request comes from a page of another site.", param="origin", code="foreign_origin")


def _is_here(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")
