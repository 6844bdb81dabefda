"""Which policy decides a request in this router: the version in force, or the canary's; followed in the background."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

from policies.document import Document
from policies.knowledge import Knowledge
from policies.words import Request
from router.observe.telemetry import Telemetry
from router.state.outage import Outage
from router.state.store import Clock, StoreError
from router.steering.errors import Invalid
from router.steering.reading import read
from router.steering.standing import Status
from router.steering.store import VersionStore
from router.steering.versions import FILE, Desk, Trial, Version

logger = logging.getLogger("alpharoute.steering")

Source = Literal["settings", "file"]


@dataclass(frozen=True, slots=True)
class Side:
    """A version that is tried, with a view of what is known under it."""

    trial: Trial
    knowledge: Knowledge


class Pilot:
    """Holds what is in force; a store that is away, or a version that cannot be read, leaves it as it is."""

    def __init__(
        self, store: VersionStore, knowledge: Knowledge, telemetry: Telemetry, clock_s: Clock, source: Source
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._source: Source = source
        self._base = knowledge.document
        self._documents: dict[str, Document] = {}
        self._outage = Outage()
        self.knowledge = knowledge
        self.desk = Desk()
        self.version = Version(FILE, _set_in(self._base))
        """The version in force here: the desk's, or the one before where that cannot be read."""
        self.shadow: Side | None = None
        self.canary: Side | None = None
        self.problem: str | None = None
        self.read_s: float | None = None

    def file_version(self) -> Version:
        """The policy of the settings or of `policy_file`, as a version."""
        return Version(FILE, _set_in(self._base))

    def take_base(self, document: Document) -> None:
        """The file says something new: it counts at once where no version is in force, else after a rollback to it."""
        self._base = document
        self._use(self.version.id, self._document_of(self.version))

    def deciding(self, request: Request, request_id: str) -> Knowledge:
        """What a request is decided by: the canary's view where it falls into its share."""
        if self.canary is None or not falls(self.canary.trial, request, request_id):
            return self.knowledge
        return self.canary.knowledge

    async def run(self, every_s: float) -> None:
        """Follow the store until cancelled."""
        task = asyncio.current_task()
        while task is not None and not task.cancelling():
            await self.exchange()
            await asyncio.sleep(self._outage.pause_s(every_s))

    async def exchange(self) -> None:
        """One look at the store."""
        try:
            desk = await self._store.desk()
            if desk != self.desk:
                await self.follow(desk)
        except StoreError as error:
            self._outage.failed(f"Redis is away, going on with the policy that is held: {error}", time.monotonic())
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self._outage.failed(f"The policy in Redis cannot be read: {why}", time.monotonic())
        else:
            self.read_s = self._clock_s()
            self._outage.ended(time.monotonic())

    async def follow(self, desk: Desk) -> None:
        """Take up what the desk says."""
        trials = [trial for trial in (desk.shadow, desk.canary) if trial is not None]
        wanted = {desk.active, *(trial.version for trial in trials)} - {FILE}
        found = await self._store.versions(wanted)
        self._take(desk, {**found, FILE: self.file_version()})

    def _take(self, desk: Desk, found: Mapping[int, Version]) -> None:
        self.problem = None
        active = found.get(desk.active)
        document = None if active is None else self._readable(active)
        if active is not None and document is not None:
            if active.id != self.version.id:
                logger.info("policy version %d is in use (%s)", active.id, desk.by or "nobody said who")
            self.version = active
            self._use(active.id, document)
        elif active is None:
            self.problem = f"version {desk.active} is not in the store"
        self.desk = desk
        self.shadow = self._side(desk.shadow, found, self.shadow)
        self.canary = self._side(desk.canary, found, self.canary)
        if self.problem is not None:
            logger.warning("the policy in use stays: %s", self.problem)

    def _readable(self, version: Version) -> Document | None:
        try:
            return self._document_of(version)
        except Invalid as error:
            self.problem = f"version {version.id} cannot be read here: {error}"
            return None

    def _document_of(self, version: Version) -> Document:
        if version.id == FILE:
            return self._base
        if version.etag not in self._documents:
            self._documents = {version.etag: read(version.document)}
        return self._documents[version.etag]

    def _use(self, version: int, document: Document) -> None:
        # Whoever throws the switch in the file must not find that another policy holds it open.
        if self._base.kill_switch and not document.kill_switch:
            document = document.model_copy(update={"kill_switch": True})
        if document is not self.knowledge.document:
            self.knowledge.document = document
        self._telemetry.policy_version.set(version)

    def _side(self, trial: Trial | None, found: Mapping[int, Version], old: Side | None) -> Side | None:
        if trial is None or trial.version not in found:
            return None
        if old is not None and old.trial == trial:
            return old
        document = self._readable(found[trial.version])
        return None if document is None else Side(trial, under(self.knowledge, document))

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
            problem=self.problem or away,
            read_ago_s=None if self.read_s is None else max(0.0, self._clock_s() - self.read_s),
        )


def under(knowledge: Knowledge, document: Document) -> Knowledge:
    """The same knowledge under another document: records and fits are shared, habits and beliefs are its own."""
    return replace(knowledge, document=document, habits={}, _curves={})


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
