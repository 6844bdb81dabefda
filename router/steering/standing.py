"""What steering says of now: what is in force in this router, and how trials go."""

from dataclasses import dataclass
from typing import Literal

from policies.steering_reports import Canary, Shadow
from router.steering.versions import Trial


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """A shadow that runs."""

    trial: Trial
    report: Shadow


@dataclass(frozen=True, slots=True)
class CanaryStatus:
    """A canary that runs."""

    trial: Trial
    report: Canary


@dataclass(frozen=True, slots=True)
class Status:
    """What is in force here: `active` is the version that this router decides by (0: the file's or the settings').

    `revision` counts changes, the same in routers that are in step. `problem` says what this router could not take up
    and goes on without (a wrong file, an unreadable version, a store that is away); `read_ago_s` is the age of what it
    knows of the store, None where it never read it.
    """

    active: int
    etag: str
    source: Literal["settings", "file", "store"]
    since_s: float
    by: str
    revision: int
    shadow: ShadowStatus | None = None
    canary: CanaryStatus | None = None
    problem: str | None = None
    read_ago_s: float | None = None
