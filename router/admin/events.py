"""What happened: drift, guards, engines and policies, from the log that routers share."""

from dataclasses import dataclass

from pydantic import Field

from router.admin.routes import AnyRoute, Asked, Nothing, Said, Taken, reading
from router.state.store import Logged, Store

AT_ONCE = 500


class WhichEvents(Taken):
    """Which events; what is unset asks for all."""

    kind: str | None = None
    """drift, drafter_stale, guard_tripped, replica_slow, …"""
    subject: str | None = None
    """What it is about begins so."""
    since_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Unix time."""
    limit: int = Field(default=100, ge=1, le=1000)
    """At most so many."""
    before: str | None = Field(default=None, pattern=r"^\d{1,15}-\d{1,15}$")
    """Only those older than this id: the last one of the page before."""

    def fits(self, one: Logged) -> bool:
        """Whether an event is one of these."""
        event = one.event
        return (
            (self.kind is None or event.kind == self.kind)
            and (self.subject is None or event.subject.startswith(self.subject))
            and event.at_s >= self.since_s
        )


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event; `subject` is the key, drafter, task, replica or version, `detail` one plain sentence."""

    id: str
    at_s: float
    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Events:
    """Newest first."""

    events: list[LoggedEvent]


@dataclass(frozen=True, slots=True)
class EventRoutes:
    """The log."""

    store: Store

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [reading("/events", Events, self.newest, WhichEvents)]

    async def newest(self, asked: Asked[WhichEvents, Nothing]) -> Said:
        """What happened, newest first: drift, guards, engines, policies."""
        which = asked.query
        found: list[Logged] = []
        before = which.before or ""
        while len(found) < which.limit:
            part = await self.store.logged(AT_ONCE, before)
            found += filter(which.fits, part)
            if len(part) < AT_ONCE or part[-1].event.at_s < which.since_s:
                break
            before = part[-1].id
        return Said(Events([_told(one) for one in found[: which.limit]]))


def _told(one: Logged) -> LoggedEvent:
    event = one.event
    return LoggedEvent(one.id, event.at_s, event.kind, event.subject, event.detail)
