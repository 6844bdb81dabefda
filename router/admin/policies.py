"""Policy versions over HTTP: drafts, their life cycle and the audit trail; what it does is `router.steering`'s."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from policies.deployment import Deployment
from policies.document import Document
from policies.errors import Problem
from policies.warnings import warnings_of
from router.admin.engines import Why
from router.admin.errors import Changed, Conflict, Invalid, Unavailable, VersionNeeded
from router.admin.policy_views import (
    Activation,
    Against,
    Back,
    Draft,
    History,
    Last,
    Policies,
    PolicyText,
    Rehearsal,
    Replay,
    Share,
    Stop,
    Validation,
    VersionView,
    line_of,
    view_of,
)
from router.admin.routes import PREFIX, AnyRoute, Asked, Nothing, Said, changing, reading
from router.errors import BadRequest, NotFound
from router.steering import errors
from router.steering.reading import Written, read
from router.steering.standing import Status
from router.steering.steering import Steering
from router.steering.versions import FILE, Diff, Version

ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class PolicyRoutes:
    """Policies and their life cycle; `deployment` says what there is of tasks, pools, models and segments now."""

    steering: Steering
    deployment: Callable[[], Deployment]

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
            changing("POST", f"{one}/dry-run", Rehearsal, self.dry_run, Replay),
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
        return Said(Policies(active, shadow, canary, [line_of(one) for one in versions]))

    async def create(self, asked: Asked[Nothing, Draft]) -> Said:
        """A new draft."""
        with _refusals():
            made = await self.steering.create(asked.body.written, asked.who, asked.body.why)
        said = self._view(made)
        return Said(said.body, {**said.headers, "location": f"{PREFIX}/policies/{made.id}"})

    async def schema(self, asked: Asked[Nothing, Nothing]) -> Said:
        """The JSON Schema of a policy, for editors."""
        return Said(Document.model_json_schema())

    async def validate(self, asked: Asked[Nothing, PolicyText]) -> Said:
        """What is wrong with a policy; nothing is kept."""
        written = asked.body.written
        problems = list(self.steering.validate(written))
        return Said(Validation(not problems, problems, [] if problems else list(self._warnings(written))))

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
                return self._view(await self.steering.active())
            return self._view(await self.steering.get(await self._id(asked.place)))

    async def update(self, asked: Asked[Nothing, Draft]) -> Said:
        """Change a draft that is still at the `If-Match` given."""
        with _refusals():
            number = await self._id(asked.place)
            etag = await self._etag(asked.if_match, number)
            if etag is None:
                message = "Send the ETag of the version that you edited as If-Match, so that no other edit is lost."
                raise VersionNeeded(message, param="if-match", code="if_match_needed")
            body = asked.body
            return self._view(await self.steering.update(number, body.written, etag, asked.who, body.why))

    async def diff(self, asked: Asked[Against, Nothing]) -> Said:
        """A version against another: field by field, and as text."""
        with _refusals():
            return Said(await self.steering.diff(await self._id(asked.place), asked.query.against))

    async def dry_run(self, asked: Asked[Nothing, Replay]) -> Said:
        """Replay recorded decisions under a version and say what would change."""
        with _refusals():
            number = await self._id(asked.place)
            found = await self.steering.dry_run(number, asked.body.last)
            warnings = list(self._warnings((await self.steering.get(number)).document))
        return Said(Rehearsal(**{one.name: getattr(found, one.name) for one in fields(found)}, warnings=warnings))

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

    def _view(self, one: Version) -> Said:
        return Said(view_of(one, self._warnings(one.document)), {"etag": f'"{one.etag}"'})

    def _warnings(self, written: Written) -> Sequence[Problem]:
        """What looks like a slip in a policy that can be read."""
        try:
            return warnings_of(read(written), self.deployment())
        except errors.Invalid:  # it may come from a router of another version
            return ()

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
        current = view_of(error.current, ())
        refused = Changed(str(error), param="if-match", code="version_changed")
        raise refused.carrying(current=current, changes=list(error.changes)) from None
    except errors.Away as error:
        raise Unavailable(str(error), code="redis_away", headers={"retry-after": "1"}) from None
