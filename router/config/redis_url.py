"""The forms in which an operator names Redis: one server, Sentinels, a Cluster, a Unix socket."""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

SCHEMES = {
    "redis": "server",
    "rediss": "server",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
    "unix": "socket",
}
"""Each scheme and what stands behind it; with `rediss` the connection is encrypted."""

Kind = Literal["server", "sentinel", "cluster", "socket"]

_PORTS = {"server": 6379, "cluster": 6379, "sentinel": 26379}
# A password may hold any character: it ends at the last @ after which hosts and a path follow.
_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^:@/]*)(?::(?P<password>.*))?@)?"
    r"(?P<hosts>[^/?#@]*)(?P<path>/[^?#@]*)?(?:\?db=(?P<db>\d+))?",
    re.DOTALL,
)
_HOST = re.compile(r"(?P<host>[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?", re.ASCII)
_FORM = {
    "server": "redis://[user:password@]host[:port][/db]",
    "sentinel": "redis+sentinel://[user:password@]host[:port],host[:port]…/name[/db]",
    "cluster": "redis+cluster://[user:password@]host[:port],host[:port]…",
    "socket": "unix://[user:password@]/path[?db=n]",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is, and as whom to speak to it; `hosts` are (host, port), `name` is the Sentinels' for the server."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    name: str = ""
    database: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_address(url: str) -> Address:
    """The address a URL names; ValueError says which form is expected, and never repeats the URL."""
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in SCHEMES:
        raise ValueError(f"must be 'embedded' or a URL that begins with {', '.join(f'{s}://' for s in SCHEMES)}")
    kind: Kind = SCHEMES[scheme]  # type: ignore[assignment]
    parts = _URL.fullmatch(url)
    wrong = ValueError(f"must look like {_FORM[kind].replace('redis', scheme.split('+')[0], 1)}")
    if parts is None:
        raise wrong
    user, password = _decoded(parts["user"]), _decoded(parts["password"])
    path = unquote(parts["path"] or "")
    if kind == "socket":
        if parts["hosts"] or not path.strip("/"):
            raise wrong
        return Address(kind, path=path, database=int(parts["db"] or 0), username=user, password=password)
    hosts = tuple(_host(text, _PORTS[kind]) for text in parts["hosts"].split(","))
    inner = [part for part in path.split("/") if part]
    name = inner.pop(0) if kind == "sentinel" and inner else ""
    database = inner.pop(0) if inner else parts["db"] or "0"
    several = len(hosts) > 1 and kind == "server"
    if None in hosts or several or inner or not database.isdigit() or (kind == "sentinel") != bool(name):
        raise wrong
    if kind == "cluster" and int(database):
        raise ValueError("names a database: a Redis Cluster has only 0")
    places, tls = tuple(host for host in hosts if host is not None), scheme.startswith("rediss")
    return Address(kind, places, "", name, int(database), tls, user, password)


def _decoded(text: str | None) -> str | None:
    return unquote(text) if text else None


def _host(text: str, port: int) -> tuple[str, int] | None:
    parts = _HOST.fullmatch(text)
    if parts is None or int(parts["port"] or port) > 65535:
        return None
    return parts["host"].strip("[]"), int(parts["port"] or port)
