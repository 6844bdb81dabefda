"""What is added to the HAProxy that Ray Serve configures, so that it withstands clients that are broken or mean.

Two files of configuration, one read after `defaults` and one after `frontend http_frontend`, and the answers that
HAProxy gives itself, as JSON in OpenAI's shape.
"""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from router.api.head import MAX_ID_CHARS
from router.errors import (
    BadRequest,
    EngineTimeout,
    EngineUnreachable,
    MethodNotAllowed,
    NoEngine,
    NotFound,
    RequestError,
    Unexpected,
)

HEAD_S = 30
"""Longest time for a request's head to arrive: without it a client may hold a connection for an hour by half of one."""

TUNNEL_S = 3600
"""How long a websocket of the console may be silent."""

MARK = "# added by alpharoute"
MOST, FAIR = "ALPHAROUTE_HAPROXY_MOST", "ALPHAROUTE_HAPROXY_FAIR"
"""Variables of HAProxy's process: from how many connections on one address may have no more than so many."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
"""Those that the server behind HAProxy reads; of any other it says in plain text that it is no HTTP."""

PAGES: Mapping[int, RequestError] = {
    400: BadRequest("You hung up before the answer.", code="hung_up"),
    500: Unexpected("The proxy or the server behind it failed.", code="internal_error"),
    502: EngineUnreachable("The router broke off.", code="router_lost", headers={"retry-after": "1"}),
    503: NoEngine("No router answers at the moment.", code="no_router", headers={"retry-after": "1"}),
    504: EngineTimeout("The router did not answer in time.", code="router_timeout", headers={"retry-after": "1"}),
}
"""What HAProxy answers itself, by status; Ray Serve would have it say 500 for the last three.

Of what is no HTTP, and of heads too large or too slow, it says so in HTML that no configuration changes.
"""

_ROUTE = NotFound("There is no such route here.", code="unknown_route")
_METHOD = MethodNotAllowed(f"The method must be one of {', '.join(METHODS)}.", code="method_not_allowed")


def _answer(to: str, error: RequestError, condition: str) -> str:
    said = f"status {error.status} content-type application/json string '{error.body().decode()}'"
    said += "".join(f" hdr {name} {value}" for name, value in error.headers.items())
    return f"http-{to} return {said} {condition}"


DEFAULTS = (
    f"timeout http-request {HEAD_S}s",
    f"timeout tunnel {TUNNEL_S}s",
    # One connection of HTTP/2 would carry a hundred requests; without TLS hardly a client speaks it.
    "option disable-h2-upgrade",
    # A connection that was opened ahead and never used is closed: a 408 would be taken for the next request's answer.
    "option http-ignore-probes",
)

RULES = (
    # Whoever has most of the connections gets no more while there are few left: others must still come in.
    "stick-table type ipv6 size 100k expire 1m store conn_cur",
    "tcp-request connection track-sc0 src",
    f'tcp-request connection reject if {{ fe_conn ge "${{{MOST}}}" }} {{ sc0_conn_cur gt "${{{FAIR}}}" }}',
    # Serve tells anybody its applications and their routes, however the path is written; probes keep theirs.
    _answer(
        "request",
        _ROUTE,
        "if { path_beg /-/ } !{ path /-/healthz } or { path_sub % } { path,url_dec -m beg /-/ } or !{ path_beg / }",
    ),
    _answer("request", _METHOD, f"unless {{ method {' '.join(METHODS)} }}"),
    # Serve repeats any id in its answer, where the router takes one plain and short one alone: Serve then makes a new
    # one for both.
    f"http-request del-header x-request-id unless {{ req.fhdr(x-request-id) -m reg '^[ -~]{{1,{MAX_ID_CHARS}}}$' }}",
    "http-request del-header x-request-id if { req.fhdr_cnt(x-request-id) gt 1 }",
    # Of these Serve answers any byte beyond UTF-8 with a 500, and by the first ends a request with a text of its own.
    "http-request del-header ^(x-request-timeout-seconds|serve[_-]multiplexed[_-]model[_-]id)$ -m reg",
    "http-request del-header ^x(_session[_-]|-session_)id$ -m reg",
    "http-request set-header x-session-id %[req.fhdr(x-session-id),sha1,hex] "
    "if { req.fhdr(x-session-id) -m reg '[^ -~]' }",
    # Serve need not watch for clients that leave: the router does, and its watch costs two tasks for every request.
    "http-request set-header x-request-disconnect-disabled ?1",
    "http-request del-header upgrade unless { path_beg /console }",
    "http-response del-header server",
    # What Serve says in words of its own, where it fails or a deployment is away; the router's errors are JSON.
    *(
        _answer("response", PAGES[status], f"if {{ status {status} }} {{ res.fhdr(content-type) -m beg text/plain }}")
        for status in (500, 503)
    ),
)


def write_rules(folder: Path) -> tuple[Path, Path]:
    """Write all of it to the folder; the paths of what goes after `defaults` and after `frontend http_frontend`."""
    pages = []
    for status, error in PAGES.items():
        (folder / f"{status}.http").write_bytes(_page(status, error))
        pages.append(f"errorfile {status} {folder}/{status}.http")
    defaults, rules = folder / "defaults.cfg", folder / "rules.cfg"
    defaults.write_text(_marked((*DEFAULTS, *pages)))
    rules.write_text(_marked(RULES))
    return defaults, rules


def _marked(lines: tuple[str, ...]) -> str:
    return "".join(f"    {line} {MARK}\n" for line in lines)


def _page(status: int, error: RequestError) -> bytes:
    body = error.body()
    own = "".join(f"{name}: {value}\r\n" for name, value in error.headers.items())
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n{own}"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
