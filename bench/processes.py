"""The processes of a service that this process started, known by the titles that Ray gives them."""

import psutil

ROUTER_TITLE = "ray::ServeReplica:alpharoute:router"


def router_processes() -> list[psutil.Process]:
    """The router replicas, oldest first."""
    family = psutil.Process().children(recursive=True)
    found = [one for one in family if _title(one).startswith(ROUTER_TITLE)]
    return sorted(found, key=lambda one: one.create_time())


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
