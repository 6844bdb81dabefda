"""Policies as the Admin API takes and shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pydantic import Field, model_validator

from policies.errors import Problem
from policies.steering_reports import DryRun
from router.admin.engines import Why
from router.admin.routes import Sentence, Taken
from router.steering.reading import Written
from router.steering.versions import Entry, Trial, Unit, Version

MOST_REPLAYED = 20_000


class PolicyText(Taken):
    """A policy: as JSON in `document`, or as YAML or JSON text in `text`, whose comments are kept."""

    document: dict[str, object] | None = None
    """The policy document."""
    text: str | None = Field(default=None, max_length=1024 * 1024)
    """The same as text."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.document is None) == (self.text is None):
            raise ValueError("give the policy as document or as text, one of them")
        return self

    @property
    def written(self) -> Written:
        """It, as it was given."""
        return self.text if self.document is None else self.document  # type: ignore[return-value]  # one is there


class Draft(PolicyText):
    """A policy to keep, and why."""

    why: Sentence = ""
    """One sentence for whoever asks later."""


class Against(Taken):
    """What to compare with."""

    against: int | None = Field(default=None, ge=0)
    """A version; the active one unless set."""


class Last(Taken):
    """How many lines."""

    limit: int = Field(default=100, ge=1, le=1000)
    """At most so many."""


class Replay(Taken):
    """How much a dry run replays."""

    last: int = Field(default=1000, ge=1, le=MOST_REPLAYED)
    """Recorded decisions."""


class Share(Why):
    """What a canary serves."""

    share: float = Field(gt=0, le=1)
    """Share of the traffic, 0–1."""
    by: Unit = "request"
    """What falls into the share: each request, or whole segments."""
    segments: tuple[str, ...] = ()
    """Segments that take part; none: all."""


class Activation(Why):
    """Putting a version in force."""

    if_active: int | None = Field(default=None, ge=0)
    """Only where this version is the active one still."""


class Back(Why):
    """Going back."""

    to: int | None = Field(default=None, ge=0)
    """An earlier version; unset: the one before."""


class Stop(Why):
    """Ending a trial."""

    version: int | None = Field(default=None, ge=0)
    """Whose; needed where a shadow and a canary run."""


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version without its document; 0 is the policy of the settings or of `policy_file`."""

    version: int
    etag: str
    state: str
    by: str
    at_s: float
    why: str
    activated_s: float | None


@dataclass(frozen=True, slots=True)
class VersionView(VersionLine):
    """One version; `document` is what was set in it, `text` the same as it was typed, empty where it was JSON.

    `warnings` are what looks like a slip in it.
    """

    document: Mapping[str, object]
    text: str
    warnings: list[Problem]


@dataclass(frozen=True, slots=True)
class Policies:
    """Every version, newest first, and what is in force."""

    active: int
    shadow: Trial | None
    canary: Trial | None
    versions: list[VersionLine]


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether a policy may be used, and everything that is wrong with it.

    `warnings` are allowed, and most often a slip: names and k that this deployment does not have, rules and
    windows that never decide anything, pools that no request may use.
    """

    valid: bool
    problems: list[Problem]
    warnings: list[Problem]


@dataclass(frozen=True, slots=True)
class Rehearsal(DryRun):
    """What would change under a version; `warnings` are what looks like a slip in it."""

    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class History:
    """The audit trail, newest first."""

    history: list[Entry]


def line_of(one: Version) -> VersionLine:
    """A version as a line."""
    return VersionLine(one.id, f'"{one.etag}"', one.state, one.by, one.at_s, one.why, one.activated_s)


def view_of(one: Version, warnings: Sequence[Problem]) -> VersionView:
    """A version with its document."""
    etag, warned = f'"{one.etag}"', list(warnings)
    return VersionView(
        one.id, etag, one.state, one.by, one.at_s, one.why, one.activated_s, one.document, one.text, warned
    )
