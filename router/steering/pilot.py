"""Which policy decides a request in this router: the version in force, or the canary's; followed in the background."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

from policies.choice import Choice
from policies.document import Document
from policies.event import Event, EventKind
from policies.knowledge import Knowledge
from policies.quick import quick
from policies.request import Request
from router.observe.telemetry import Telemetry
from router.state.outage import Outage
from router.state.store import Clock, StoreError
from router.steering.errors import Invalid
from router.steering.reading import read
from router.steering.standing import Status
from router.steering.store import VersionStore
from router.steering.sums import CanarySums, ShadowSums
from router.steering.versions import FILE, Commit, Desk, Entry, Trial, Version

logger = logging.getLogger("alpharoute.steering")

Source = Literal["settings", "file"]


PAST_HELD = 5
"""Earlier versions that are held beside the active one: what a store that lost its data gets back for rollbacks."""


@dataclass(frozen=True, slots=True)
class ShadowSide:
    """A shadow, with a view of what is known under it, and what it decided here."""

    trial: Trial
    knowledge: Knowledge
    sums: ShadowSums = field(default_factory=ShadowSums)


@dataclass(frozen=True, slots=True)
class CanarySide:
    """A canary, with a view of what is known under it, and how both sides of it went here."""

    trial: Trial
    knowledge: Knowledge
    sums: CanarySums = field(default_factory=CanarySums)

    def compares(self, request: Request) -> bool:
        """Whether a request belongs to either side: with single requests drawn in some segments, only theirs do."""
        trial = self.trial
        return trial.unit == "segment" or not trial.segments or request.segment in trial.segments


class Pilot:
    """Holds what is in force; a store that is away, or a version that cannot be read, leaves it as it is.

    `announce` gets the events that operators should know of.
    """

    def __init__(
        self,
        store: VersionStore,
        knowledge: Knowledge,
        telemetry: Telemetry,
        clock_s: Clock,
        source: Source,
        announce: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._store = store
        self._announce = announce
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._source: Source = source
        self._base = knowledge.document
        self._held: Mapping[int, Version] = {}
        self._document: tuple[str, Document] = ("", self._base)
        self._outage = Outage()
        self.knowledge = knowledge
        self.desk = Desk()
        self.version = Version(FILE, _set_in(self._base))
        """The version in force here: the desk's, or the one before where that cannot be read."""
        self.shadow: ShadowSide | None = None
        self.canary: CanarySide | None = None
        self.problem: str | None = None
        self.file_problem: str | None = None
        self.read_s: float | None = None
        self.header_names = self._base.header_names
        """Request headers that rules in use ask for."""

    def file_version(self) -> Version:
        """The policy of the settings or of `policy_file`, as a version."""
        return Version(FILE, _set_in(self._base))

    def take_base(self, document: Document) -> None:
        """The file says something new: it counts at once where no version is in force, else after a rollback to it."""
        self._base, self.file_problem = document, None
        self._telemetry.policy_current.set(1)
        if self.version.id == FILE:
            self.version = self.file_version()
        self._use(self.version.id, self._document_of(self.version))

    def refuse_base(self, why: str) -> None:
        """The file is wrong: what it said before stays."""
        self._telemetry.policy_current.set(0)
        if why != self.file_problem:
            self.file_problem = why
            self._tell("policy_refused", "file", why)

    def deciding(self, request: Request, request_id: str) -> "Deciding":
        """What a request is decided by: the canary's view where it falls into its share."""
        canary = self.canary
        if canary is None or not falls(canary.trial, request, request_id):
            return Deciding(self.knowledge, self.version.id)
        return Deciding(canary.knowledge, canary.trial.version)

    def knowledge_of(self, choice: Choice) -> Knowledge:
        """The view that a choice was made by, where that still is in use."""
        canary = self.canary
        if canary is not None and choice.policy == canary.trial.version:
            return canary.knowledge
        return self.knowledge

    async def exchange(self) -> bool:
        """One look at the store; whether it could be read."""
        try:
            desk = await self._store.desk()
            # The same number on another desk is one that a router gave back that had not heard of the last change.
            if desk.revision <= self.desk.revision and desk != self.desk:
                await self._restore(desk)
            elif desk != self.desk:
                await self.follow(desk)
        except StoreError as error:
            self._outage.failed(f"Redis is away, going on with the policy that is held: {error}", time.monotonic())
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._outage.failed(f"The policy in Redis cannot be read: {why}", time.monotonic())
        else:
            self.read_s = self._clock_s()
            self._outage.ended(time.monotonic())
        now_s = self._clock_s()
        self._telemetry.policy_age.set(now_s - self.read_s if self.read_s is not None else 0.0)
        return not self._outage.lasts

    def pause_s(self, every_s: float) -> float:
        """How long to wait before the next look, longer while the store is away."""
        return self._outage.pause_s(every_s)

    async def follow(self, desk: Desk) -> None:
        """Take up what the desk says."""
        trials = [trial for trial in (desk.shadow, desk.canary) if trial is not None]
        wanted = {desk.active, *desk.past[-PAST_HELD:], *(trial.version for trial in trials)} - {FILE}
        found = await self._store.versions(wanted)
        # Another change may have been taken up meanwhile.
        if desk.revision >= self.desk.revision:
            self._take(desk, {**found, FILE: self.file_version()})

    async def _restore(self, found: Desk) -> None:
        """Give back what is held to a store that lost it; one router does, the others find it done."""
        newest = max(found.newest, self.desk.newest)
        desk = replace(self.desk, revision=self.desk.revision + 1, newest=newest)
        entry = Entry(self._clock_s(), "alpharoute", "restore", desk.active, "the store had lost its data")
        held = tuple(version for number, version in self._held.items() if number != FILE)
        if await self._store.commit(Commit(found.revision, desk, entry, held)):
            logger.warning("Redis had lost its policies: %d versions were given back", len(held))
            self.desk = desk

    def _take(self, desk: Desk, found: Mapping[int, Version]) -> None:
        problem, self.problem, self._held = self.problem, None, found
        active = found.get(desk.active)
        document = None if active is None else self._readable(active)
        if active is not None and document is not None:
            if active.id != self.version.id:
                logger.info("policy version %d is in use (%s)", active.id, desk.by or "nobody said who")
                self.shadow = self.canary = None
            self.version = active
            self._use(active.id, document)
        elif active is None:
            self.problem = f"version {desk.active} is not in the store"
        self.desk = desk
        self._take_trials(desk, found)
        if self.problem is not None and self.problem != problem:
            logger.warning("the policy in use stays: %s", self.problem)
            self._tell("policy_refused", f"version {desk.active}", self.problem)

    def _take_trials(self, desk: Desk, found: Mapping[int, Version]) -> None:
        if self.shadow is None or self.shadow.trial != desk.shadow:
            view = self._view(desk.shadow, found)
            self.shadow = None if view is None or desk.shadow is None else ShadowSide(desk.shadow, view)
        if self.canary is None or self.canary.trial != desk.canary:
            view = self._view(desk.canary, found)
            self.canary = None if view is None or desk.canary is None else CanarySide(desk.canary, view)
        self._gather_headers()
        for trial, kind in ((desk.shadow, "shadow"), (desk.canary, "canary")):
            self._telemetry.policy_trials.labels(kind).set(0 if trial is None else trial.version)

    def _tell(self, kind: EventKind, subject: str, detail: str) -> None:
        self._announce(Event(kind, subject, self._clock_s(), detail))

    def _readable(self, version: Version) -> Document | None:
        try:
            return self._document_of(version)
        except Invalid as error:
            self.problem = f"version {version.id} cannot be read here: {error}"
            return None

    def _document_of(self, version: Version) -> Document:
        if version.id == FILE:
            return self._base
        etag, document = self._document
        if etag != version.etag:
            document = read(version.document)
            self._document = version.etag, document
        return document

    def _use(self, version: int, document: Document) -> None:
        # Whoever throws the switch in the file must not find that another policy holds it open.
        if self._base.kill_switch and not document.kill_switch:
            document = document.model_copy(update={"kill_switch": True})
        if document is not self.knowledge.document:
            self.knowledge.adopt(document)
        self._telemetry.policy_version.set(version)
        self._gather_headers()

    def _gather_headers(self) -> None:
        sides = [side for side in (self.shadow, self.canary) if side is not None]
        views = [self.knowledge, *(side.knowledge for side in sides)]
        self.header_names = frozenset().union(*(view.document.header_names for view in views))

    def _view(self, trial: Trial | None, found: Mapping[int, Version]) -> Knowledge | None:
        if trial is None or trial.version not in found:
            return None
        try:
            document = self._base if trial.version == FILE else read(found[trial.version].document)
        except Invalid as error:
            self.problem = f"version {trial.version} cannot be tried here: {error}"
            return None
        return under(self.knowledge, document)

    def status(self) -> Status:
        """What is in force here."""
        stored = self.version.id != FILE
        away = "the store is away, this is what is held" if self._outage.lasts else None
        return Status(
            active=self.version.id,
            etag=self.version.etag,
            source="store" if stored else self._source,
            since_s=self.desk.since_s,
            by=self.desk.by,
            revision=self.desk.revision,
            problem=self.file_problem or self.problem or away,
            read_ago_s=None if self.read_s is None else max(0.0, self._clock_s() - self.read_s),
        )


@quick
@dataclass(frozen=True, slots=True)
class Deciding:
    """What a request is decided by, and the number of that version."""

    knowledge: Knowledge
    version: int


def under(knowledge: Knowledge, document: Document) -> Knowledge:
    """The same knowledge under another document: records and fits are shared, habits and beliefs are its own."""
    return replace(knowledge, document=document, habits={}, _curves={}, _loads={})


def falls(trial: Trial, request: Request, request_id: str) -> bool:
    """Whether a request falls into a canary's share, in every router alike."""
    if trial.unit == "segment":
        if trial.segments:
            return request.segment in trial.segments
        return share_of(trial.run, request.segment) < trial.share
    if trial.segments and request.segment not in trial.segments:
        return False
    return share_of(trial.run, request_id) < trial.share


def share_of(run: str, name: str) -> float:
    """Where a name falls in [0, 1), differently in each run."""
    return int.from_bytes(blake2b(f"{run}|{name}".encode(), digest_size=4).digest()) / 2**32


def _set_in(document: Document) -> dict[str, object]:
    return document.model_dump(mode="json", exclude_defaults=True)
