"""Who may do what: three roles, each able to do what the one before it may, and the role that a route asks for."""

from enum import StrEnum

CONSOLE = "/console"
ADMIN = "/admin"
METRICS = "/metrics"
PROBES = frozenset({"/health", "/ready"})
READING = frozenset({"GET", "HEAD"})
ADMINS_OWN = ("/admin/v1/keys", "/admin/v1/settings")
"""What an operator may not even read: who may come in, and how the service is set up."""


class Role(StrEnum):
    """What a key may do: ask models, see and steer the service, say who else may."""

    CLIENT = "client"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what `needed` may."""
        return _RANK[self] >= _RANK[needed]


_RANK = {role: rank for rank, role in enumerate(Role)}


def needed_role(method: str, path: str, metrics: Role | None = None) -> Role | None:
    """The role a request needs, None where it needs no key; `metrics` is what reading /metrics needs.

    Whatever is not listed needs a client's key, so that a route added later is never open by mistake.
    """
    if path in PROBES and method in READING:
        return None
    if path == METRICS and method in READING:
        return metrics
    if is_inside(path):
        return Role.ADMIN if path.lower().startswith(ADMINS_OWN) else Role.OPERATOR
    return Role.CLIENT


def is_inside(path: str) -> bool:
    """Whether this is a page about the service itself: the console or the admin API, and anything that begins so."""
    return path.lower().startswith((CONSOLE, ADMIN))
