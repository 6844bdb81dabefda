"""The processes that this process started, known by what their command lines say."""

import psutil

ROUTER_TITLE = "ray::ServeReplica:alpharoute:router"
"""What Ray calls a router replica."""


def router_processes() -> list[psutil.Process]:
    """The router replicas, oldest first."""
    found = [one for one in _family() if _title(one).startswith(ROUTER_TITLE)]
    return sorted(found, key=lambda one: one.create_time())


def haproxies() -> list[psutil.Process]:
    """The HAProxy before them, and workers that a reload displaced."""
    return [one for one in _family() if _title(one).partition(" ")[0].endswith("/haproxy")]


def simulators() -> list[psutil.Process]:
    """Simulated engines."""
    return [one for one in _family() if " -m engines.simulator" in _title(one)]


def _family() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
