"""Ports of this machine that nobody listens on."""

import random
import socket

LOWEST, HIGHEST = 20_000, 29_999
"""Below where the kernel takes the local ports of connections from (32768 on): a port from there that is free now may
belong to a connection by the time that a server binds it. Ray's workers take theirs below 20000, Serve's replicas from
30000 on."""

TRIES = 200


def free_port(host: str = "") -> int:
    """A port that nobody listens on now at `host`, on any address if none is named; OSError where `TRIES` are taken."""
    for port in random.sample(range(LOWEST, HIGHEST + 1), TRIES):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            try:
                listener.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port found between {LOWEST} and {HIGHEST} in {TRIES} tries")
