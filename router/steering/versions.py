"""The words of steering: versions, which of them is in force, what is tried beside it, and the audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from policies.steering_diff import Difference

FILE = 0
"""The version that is no row of the store: the policy of the settings, or of `policy_file`."""

State = Literal["draft", "shadow", "canary", "active", "retired"]
Kind = Literal["shadow", "canary"]
Unit = Literal["request", "segment"]
"""What falls into a canary's share: each request by itself, or whole segments."""

Action = Literal["create", "update", "shadow", "canary", "stop", "activate", "rollback", "restore"]


@dataclass(frozen=True, slots=True)
class Version:
    """One policy document as an operator wrote it; `revision` counts its edits.

    `text` is YAML or JSON as typed, comments included; `document` the same as decoded JSON, only what was set in it.
    """

    id: int
    document: Mapping[str, object]
    text: str = ""
    revision: int = 1
    by: str = ""
    at_s: float = 0.0
    why: str = ""
    activated_s: float | None = None
    state: State = "draft"

    @property
    def etag(self) -> str:
        """Names this content of this version."""
        return f"{self.id}.{self.revision}"


@dataclass(frozen=True, slots=True)
class Trial:
    """A version tried beside the active one: as a shadow it only decides, as a canary it serves `share`.

    `run` names this trial; `segments` are those that take part (empty: all).
    """

    kind: Kind
    version: int
    run: str
    since_s: float
    by: str = ""
    share: float = 0.0
    unit: Unit = "request"
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Desk:
    """What is in force: changes are counted by `revision`, and each is made on the one before or not at all.

    `past` are the versions that were active before, the last one last; `newest` is the highest number given.
    """

    revision: int = 0
    newest: int = 0
    active: int = FILE
    since_s: float = 0.0
    by: str = ""
    past: tuple[int, ...] = ()
    shadow: Trial | None = None
    canary: Trial | None = None

    def trial_of(self, version: int) -> Trial | None:
        """The trial that a version is in."""
        return next((trial for trial in (self.canary, self.shadow) if trial and trial.version == version), None)

    def state_of(self, version: Version) -> State:
        """Where a version stands."""
        if version.id == self.active:
            return "active"
        trial = self.trial_of(version.id)
        if trial is not None:
            return trial.kind
        return "draft" if version.activated_s is None and version.id != FILE else "retired"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit trail: who did what to which version, when, why, and what it changed in force."""

    at_s: float
    by: str
    action: Action
    version: int
    why: str = ""
    changes: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """A change of the desk as one step: nothing is done where the store's revision is not `expected`."""

    expected: int
    desk: Desk
    entry: Entry
    put: tuple[Version, ...] = ()
    remove: tuple[int, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Diff:
    """A version against another: field by field, and as a unified diff of both as YAML."""

    version: int
    against: int
    changes: tuple[Difference, ...]
    text: str
