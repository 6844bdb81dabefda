"""What an operator should know of."""

from dataclasses import dataclass
from typing import Literal

EventKind = Literal[
    "drift",
    "drafter_stale",
    "guard_tripped",
    "replica_slow",
    "revision_changed",
    "engine_marked",
    "engine_reload",
    "classifier_chosen",
    "policy_activated",
    "policy_rolled_back",
    "policy_refused",
    "shadow_started",
    "shadow_stopped",
    "canary_started",
    "canary_stopped",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something an operator should know; `subject` is the key, drafter, task or replica, `detail` one plain
    sentence.

    `once` names what happened: all routers that notice it name it alike, and the log takes it from the first. Empty:
    nobody else can tell of it.
    """

    kind: EventKind
    subject: str
    at_s: float
    detail: str
    once: str = ""
