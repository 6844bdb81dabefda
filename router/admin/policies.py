"""Policy versions over HTTP: drafts, their life cycle and the audit trail; what it does is `router.steering`'s."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from policies.document import Document
from policies.errors import Problem
from policies.steering_reports import DryRun
from router.admin.engines import Why
from router.admin.errors import Changed, Conflict, Invalid, Unavailable, VersionNeeded
from router.admin.routes import PREFIX, AnyRoute, Asked, Nothing, Said, Sentence, Taken, changing, reading
from router.errors import BadRequest, NotFound
from router.steering import errors
from router.steering.reading import Written
from router.steering.standing import Status
from router.steering.steering import Steering
from router.steering.versions import FILE, Diff, Entry, Trial, Unit, Version

ACTIVE = "active"
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
    """One version; `document` is what was set in it, `text` the same as it was typed, empty where it was JSON."""

    document: Mapping[str, object]
    text: str


@dataclass(frozen=True, slots=True)
class Policies:
    """Every version, newest first, and what is in force."""

    active: int
    shadow: Trial | None
    canary: Trial | None
    versions: list[VersionLine]


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether a policy may be used, and everything that is wrong with it."""

    valid: bool
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class History:
    """The audit trail, newest first."""

    history: list[Entry]


@dataclass(frozen=True, slots=True)
class PolicyRoutes:
    """Policies and their life cycle."""

    steering: Steering

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        one = "/policies/{version}"
        return [
            reading("/policies", Policies, self.all, Nothing),
            changing("POST", "/policies", VersionView, self.create, Draft, 422, status=201),
            reading("/policies/schema", dict[str, object], self.schema, Nothing),
            changing("POST", "/policies/validate", Validation, self.validate, PolicyText),
            reading("/policies/status", Status, self.status, Nothing),
            reading("/policies/history", History, self.history, Last),
            changing("POST", "/policies/stop", Status, self.stop, Stop, 409),
            changing("POST", "/policies/rollback", Status, self.rollback, Back, 409),
            reading(one, VersionView, self.get, Nothing),
            changing("PUT", one, VersionView, self.update, Draft, 409, 412, 422, 428),
            reading(f"{one}/diff", Diff, self.diff, Against),
            changing("POST", f"{one}/dry-run", DryRun, self.dry_run, Replay),
            changing("POST", f"{one}/shadow", Status, self.shadow, Why, 409, 412),
            changing("POST", f"{one}/canary", Status, self.canary, Share, 409, 412),
            changing("POST", f"{one}/activate", Status, self.activate, Activation, 409, 412, 422),
        ]

    async def all(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Every version, newest first, and what is in force."""
        with _refusals():
            versions = await self.steering.versions()
        now = await self.steering.status()
        active = next((one.id for one in versions if one.state == "active"), FILE)
        shadow = now.shadow.trial if now.shadow is not None else None
        canary = now.canary.trial if now.canary is not None else None
        return Said(Policies(active, shadow, canary, [_line(one) for one in versions]))

    async def create(self, asked: Asked[Nothing, Draft]) -> Said:
        """A new draft."""
        with _refusals():
            made = await self.steering.create(asked.body.written, asked.who, asked.body.why)
        said = _view(made)
        return Said(said.body, {**said.headers, "location": f"{PREFIX}/policies/{made.id}"})

    async def schema(self, asked: Asked[Nothing, Nothing]) -> Said:
        """The JSON Schema of a policy, for editors."""
        return Said(Document.model_json_schema())

    async def validate(self, asked: Asked[Nothing, PolicyText]) -> Said:
        """What is wrong with a policy; nothing is kept."""
        problems = list(self.steering.validate(asked.body.written))
        return Said(Validation(not problems, problems))

    async def status(self, asked: Asked[Nothing, Nothing]) -> Said:
        """What is in force in this router, and how shadow and canary go."""
        return Said(await self.steering.status())

    async def history(self, asked: Asked[Last, Nothing]) -> Said:
        """Who did what, when, why: newest first."""
        with _refusals():
            return Said(History(list(await self.steering.history(asked.query.limit))))

    async def stop(self, asked: Asked[Nothing, Stop]) -> Said:
        """End a shadow or a canary; its version is a draft again."""
        version = asked.body.version
        with _refusals():
            if version is None:
                version = await self._tried()
            return Said(await self.steering.stop(version, asked.body.why, asked.who))

    async def rollback(self, asked: Asked[Nothing, Back]) -> Said:
        """Put the version in force again that was before, or an earlier one."""
        with _refusals():
            return Said(await self.steering.rollback(asked.who, asked.body.why, asked.body.to))

    async def get(self, asked: Asked[Nothing, Nothing]) -> Said:
        """One version with its document; `active` stands for the one in force."""
        with _refusals():
            if asked.place["version"] == ACTIVE:
                return _view(await self.steering.active())
            return _view(await self.steering.get(await self._id(asked.place)))

    async def update(self, asked: Asked[Nothing, Draft]) -> Said:
        """Change a draft that is still at the `If-Match` given."""
        with _refusals():
            number = await self._id(asked.place)
            etag = await self._etag(asked.if_match, number)
            if etag is None:
                message = "Send the ETag of the version that you edited as If-Match, so that no other edit is lost."
                raise VersionNeeded(message, param="if-match", code="if_match_needed")
            body = asked.body
            return _view(await self.steering.update(number, body.written, etag, asked.who, body.why))

    async def diff(self, asked: Asked[Against, Nothing]) -> Said:
        """A version against another: field by field, and as text."""
        with _refusals():
            return Said(await self.steering.diff(await self._id(asked.place), asked.query.against))

    async def dry_run(self, asked: Asked[Nothing, Replay]) -> Said:
        """Replay recorded decisions under a version and say what would change."""
        with _refusals():
            return Said(await self.steering.dry_run(await self._id(asked.place), asked.body.last))

    async def shadow(self, asked: Asked[Nothing, Why]) -> Said:
        """Decide under a version too, in every router, without acting, and compare."""
        with _refusals():
            number = await self._id(asked.place)
            etag = await self._etag(asked.if_match, number)
            return Said(await self.steering.start_shadow(number, asked.who, asked.body.why, etag))

    async def canary(self, asked: Asked[Nothing, Share]) -> Said:
        """Let a version serve a share of the traffic; it stops by itself where it is worse."""
        body = asked.body
        with _refusals():
            number = await self._id(asked.place)
            etag = await self._etag(asked.if_match, number)
            return Said(
                await self.steering.start_canary(number, body.share, body.by, body.segments, asked.who, body.why, etag)
            )

    async def activate(self, asked: Asked[Nothing, Activation]) -> Said:
        """Put a version in force in every router."""
        body = asked.body
        with _refusals():
            number = await self._id(asked.place)
            etag = await self._etag(asked.if_match, number)
            return Said(await self.steering.activate(number, asked.who, body.why, etag, body.if_active))

    async def _id(self, place: Mapping[str, str]) -> int:
        text = place["version"]
        if text == ACTIVE:
            return (await self.steering.active()).id
        if not re.fullmatch(r"[0-9]{1,9}", text):
            message = f"There is no version {text[:64]!r}: versions are numbers, or 'active'."
            raise NotFound(message, param="version", code="unknown_version")
        return int(text)

    async def _etag(self, given: str | None, number: int) -> str | None:
        """The version that a change was made on, None where it names none; `*` is whatever is there."""
        if given is None:
            return None
        if given.strip() == "*":
            return (await self.steering.get(number)).etag
        found = re.fullmatch(r'\s*(?:W/)?"?([0-9.]{1,32})"?\s*', given)
        if found is None:
            message = f'If-Match must be the ETag of a version, such as "7.2", got {given[:64]!r}.'
            raise BadRequest(message, param="if-match", code="invalid_value")
        return found[1]

    async def _tried(self) -> int:
        now = await self.steering.status()
        tried = [one.trial.version for one in (now.canary, now.shadow) if one is not None]
        if len(tried) != 1:
            what = f"Versions {tried[0]} and {tried[1]} are tried: say which." if tried else "No version is tried."
            raise Conflict(what, param="version", code="wrong_state")
        return tried[0]


def _line(one: Version) -> VersionLine:
    return VersionLine(one.id, f'"{one.etag}"', one.state, one.by, one.at_s, one.why, one.activated_s)


def _view(one: Version) -> Said:
    etag = f'"{one.etag}"'
    said = VersionView(one.id, etag, one.state, one.by, one.at_s, one.why, one.activated_s, one.document, one.text)
    return Said(said, {"etag": etag})


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What steering refuses, as answers."""
    try:
        yield
    except errors.Invalid as error:
        problems = list(error.problems)
        raise Invalid(str(error), param=problems[0].path, code="invalid_policy").carrying(problems=problems) from None
    except errors.UnknownVersion as error:
        raise NotFound(str(error), param="version", code="unknown_version") from None
    except errors.WrongState as error:
        raise Conflict(str(error), code="wrong_state") from None
    except errors.Conflict as error:
        current = _view(error.current).body
        refused = Changed(str(error), param="if-match", code="version_changed")
        raise refused.carrying(current=current, changes=list(error.changes)) from None
    except errors.Away as error:
        raise Unavailable(str(error), code="redis_away", headers={"retry-after": "1"}) from None
