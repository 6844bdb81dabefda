"""Steering: what an operator does with policy versions, the same from the API, the command line and the console."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from policies.errors import Problem
from policies.event import Event
from policies.replica import Replica
from policies.steering_diff import Difference, differences
from policies.steering_log import Decision
from policies.steering_reports import DryRun
from policies.steering_trials import Limits
from router.state.store import Clock, StoreError
from router.steering import lifecycle
from router.steering.decision_log import DecisionLog, Sought
from router.steering.errors import Away, Conflict, UnknownVersion, WrongState
from router.steering.pilot import Pilot
from router.steering.progress import progress
from router.steering.reading import Written, decoded, read, validate
from router.steering.standing import Status
from router.steering.store import VersionStore, or_away
from router.steering.telling import event_of, replayed, unified
from router.steering.trial_store import TrialStore
from router.steering.versions import FILE, Action, Commit, Desk, Diff, Entry, Kind, Trial, Unit, Version

REPLAYED_MOST = 20_000

LIMITS = Limits()

ATTEMPTS = 50
"""How often a change is made anew because another one came first; each time one of them succeeds."""


@dataclass(slots=True)
class Steering:
    """The life cycle of policies over a store that routers share; every method may raise Away.

    Whoever changes something says who (`author`) and why (`note`): both are in the audit trail.
    """

    store: VersionStore
    trials: TrialStore
    log: DecisionLog
    pilot: Pilot
    engines: Callable[[], Iterable[Replica]]
    router: str
    clock_s: Clock
    announce: Callable[[Event], None] = lambda event: None
    limits: Limits = LIMITS

    async def versions(self) -> Sequence[Version]:
        """Every version, newest first, the file's last."""
        async with or_away():
            desk, found = await self.store.desk(), await self.store.versions()
        stored = sorted(found.values(), key=lambda version: -version.id)
        return [replace(version, state=desk.state_of(version)) for version in [*stored, self.pilot.file_version()]]

    async def get(self, id: int) -> Version:
        """One version, 0 for the file's; UnknownVersion where there is none."""
        async with or_away():
            desk = await self.store.desk()
            return await self._get(desk, id)

    async def active(self) -> Version:
        """The version in force, by the store."""
        async with or_away():
            desk = await self.store.desk()
            return await self._get(desk, desk.active)

    async def create(self, document: Written, author: str, note: str = "") -> Version:
        """A new draft; Invalid where the document is wrong."""
        read(document)

        async def step(desk: Desk) -> Commit:
            made = lifecycle.added(desk)
            version = Version(made.newest, decoded(document), _text(document), 1, author, self.clock_s(), note)
            gone = lifecycle.surplus(desk, dict(await self.store.versions()))
            changes = await self._changes(desk, desk.active, version)
            return self._commit(desk, made, "create", version.id, author, note, changes, (version,), gone)

        return (await self._change(step)).put[0]

    async def update(self, id: int, document: Written, if_match: str, author: str, note: str = "") -> Version:
        """Change a draft whose etag is still `if_match`.

        Conflict where somebody else changed it, WrongState where it is no draft, Invalid where the document is wrong.
        """
        read(document)

        async def step(desk: Desk) -> Commit:
            current = await self._get(desk, id)
            changes = differences(current.document, decoded(document))
            if current.etag != if_match:
                message = (
                    f"Version {id} was changed by {current.by or 'somebody'} meanwhile: it is at {current.etag!r}."
                )
                raise Conflict(message, current, changes)
            lifecycle.editable(desk, current)
            next_ = replace(
                current,
                document=decoded(document),
                text=_text(document),
                revision=current.revision + 1,
                by=author,
                at_s=self.clock_s(),
                why=note or current.why,
            )
            return self._commit(desk, desk, "update", id, author, note, changes, (next_,))

        return (await self._change(step)).put[0]

    def validate(self, document: Written) -> Sequence[Problem]:
        """Everything wrong with a document; empty where nothing is."""
        return validate(document)

    async def diff(self, id: int, against: int | None = None) -> Diff:
        """A version against another, the active one unless named."""
        async with or_away():
            desk = await self.store.desk()
            other = await self._get(desk, desk.active if against is None else against)
            one = await self._get(desk, id)
        return Diff(id, other.id, differences(other.document, one.document), unified(other, one))

    async def dry_run(self, id: int, last: int = 1000) -> DryRun:
        """What the version would have decided differently from the active one over the last recorded decisions.

        In a thread of its own, which gives way to requests. ValueError where `last` is not from 1 to `REPLAYED_MOST`.
        """
        if not 1 <= last <= REPLAYED_MOST:
            raise ValueError(f"last must be from 1 to {REPLAYED_MOST}, got {last!r}")
        document = read((await self.get(id)).document)
        decisions = await self.log.search(last=last)
        probes = {replica.name: replica.probe for replica in self.engines()}
        known = self.pilot.knowledge
        records, now_s = dict(known.records), self.clock_s()
        return await asyncio.to_thread(replayed, decisions, records, known.document, document, probes, now_s)

    async def decisions(self, sought: Sought | None = None, last: int = 100) -> Sequence[Decision]:
        """The newest recorded decisions of all routers that fit; this router's own while the store is away."""
        return await self.log.search(sought, last)

    async def start_shadow(self, id: int, author: str = "", note: str = "", if_match: str | None = None) -> Status:
        """Let every router decide under the version too, without acting, and compare."""
        return await self._try("shadow", id, author, note, if_match)

    async def start_canary(
        self,
        id: int,
        share: float,
        by: Unit = "request",
        segments: Collection[str] = (),
        author: str = "",
        note: str = "",
        if_match: str | None = None,
    ) -> Status:
        """Let the version serve `share` of the requests, or of the segments, within `segments` where some are named.

        It stops by itself where it is worse. ValueError where the share is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
        return await self._try("canary", id, author, note, if_match, share, by, tuple(sorted(segments)))

    async def stop(self, id: int, reason: str, author: str = "", run: str | None = None) -> Status:
        """End the shadow or the canary that the version is in, that `run` where one is named; it is a draft again."""

        async def step(desk: Desk) -> Commit:
            await self._get(desk, id)
            trial = desk.trial_of(id)
            if run is not None and (trial is None or trial.run != run):
                raise WrongState(f"The trial {run!r} of version {id} has ended.")
            return self._commit(desk, lifecycle.stopped(desk, id), "stop", id, author, reason)

        return await self._changed(step)

    async def activate(
        self, id: int, author: str, note: str = "", if_match: str | None = None, if_active: int | None = None
    ) -> Status:
        """Put a version in force in every router.

        Conflict where it is no longer at the etag `if_match`, or the active version no longer `if_active`: what the
        operator looked at is not what would be changed.
        """

        async def step(desk: Desk) -> Commit:
            version = lifecycle.checked(await self._get(desk, id), if_match)
            if if_active is not None and desk.active != if_active:
                now = await self._get(desk, desk.active)
                message = f"Version {desk.active} is active meanwhile, put in force by {desk.by or 'somebody'}."
                raise Conflict(message, now, differences(now.document, version.document))
            if id != FILE:
                read(version.document)  # it may come from a router of another version
            then = lifecycle.activated(desk, id, author, self.clock_s())
            changes = await self._changes(desk, desk.active, version)
            served = () if id == FILE else (replace(version, activated_s=self.clock_s(), state="draft"),)
            return self._commit(desk, then, "activate", id, author, note, changes, served)

        return await self._changed(step)

    async def rollback(self, author: str, note: str = "", to: int | None = None) -> Status:
        """Put in force again what was active before, or an earlier version, or the file's (0)."""

        async def step(desk: Desk) -> Commit:
            then = lifecycle.rolled_back(desk, author, self.clock_s(), to)
            changes = await self._changes(desk, desk.active, await self._get(desk, then.active))
            return self._commit(desk, then, "rollback", then.active, author, note, changes)

        return await self._changed(step)

    async def history(self, last: int = 100) -> Sequence[Entry]:
        """The audit trail, newest first."""
        async with or_away():
            return await self.store.history(last)

    async def status(self) -> Status:
        """What is in force in this router, and how trials go in all; never Away: it is told of what is held."""
        return await progress(self.pilot, self.trials, self.router, self.limits)

    async def _try(
        self,
        kind: Kind,
        id: int,
        author: str,
        note: str,
        if_match: str | None,
        share: float = 0.0,
        by: Unit = "request",
        segments: tuple[str, ...] = (),
    ) -> Status:
        async def step(desk: Desk) -> Commit:
            version = lifecycle.checked(await self._get(desk, id), if_match)
            trial = Trial(kind, id, uuid4().hex[:12], self.clock_s(), author, share, by, segments)
            changes = await self._changes(desk, desk.active, version)
            return self._commit(desk, lifecycle.tried(desk, trial), kind, id, author, note, changes)

        return await self._changed(step)

    async def _changed(self, step: "Step") -> Status:
        commit = await self._change(step)
        with contextlib.suppress(StoreError):  # it is done: this router follows with the others
            await self.pilot.follow(commit.desk)
        return await self.status()

    async def _change(self, step: "Step") -> Commit:
        """Make a change on what is there now, and anew where another change came first."""
        async with or_away():
            for _ in range(ATTEMPTS):
                desk = await self.store.desk()
                commit = await step(desk)
                if await self.store.commit(commit):
                    event = event_of(commit.entry, desk)
                    if event is not None:
                        self.announce(event)
                    return commit
        raise Away("Others change the policy all the time; try again.")

    def _commit(
        self,
        desk: Desk,
        then: Desk,
        action: Action,
        id: int,
        author: str,
        note: str,
        changes: Sequence[Difference] = (),
        put: tuple[Version, ...] = (),
        remove: tuple[int, ...] = (),
    ) -> Commit:
        why = lifecycle.with_trials_ended(note, desk, then)
        entry = Entry(self.clock_s(), author, action, id, why, tuple(changes))
        return Commit(desk.revision, replace(then, revision=desk.revision + 1), entry, put, remove)

    async def _get(self, desk: Desk, id: int) -> Version:
        found = self.pilot.file_version() if id == FILE else (await self.store.versions([id])).get(id)
        if found is None:
            raise UnknownVersion(id)
        return replace(found, state=desk.state_of(found))

    async def _changes(self, desk: Desk, before: int, after: Version) -> tuple[Difference, ...]:
        try:
            return differences((await self._get(desk, before)).document, after.document)
        except UnknownVersion:
            return differences({}, after.document)


Step = Callable[[Desk], Awaitable[Commit]]
"""What a change makes of the desk as it is now."""


def _text(document: Written) -> str:
    return document if isinstance(document, str) else ""
