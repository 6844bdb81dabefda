"""The life cycle as pure steps: from a desk to the next one, or WrongState."""

from dataclasses import replace

from router.steering.errors import Conflict, WrongState
from router.steering.versions import FILE, Desk, Trial, Version

PAST_KEPT = 50
VERSIONS_KEPT = 200


def added(desk: Desk) -> Desk:
    """A new version gets the next number."""
    return replace(desk, newest=desk.newest + 1)


def editable(desk: Desk, version: Version) -> None:
    """Raise WrongState where a version is no draft: what serves, or has served, stays as it was."""
    state = desk.state_of(version)
    if state != "draft":
        hint = "stop it first" if state in ("shadow", "canary") else "make a new draft of it"
        raise WrongState(f"Version {version.id} is {state} and cannot be edited: {hint}.")


def tried(desk: Desk, trial: Trial) -> Desk:
    """A version is tried beside the active one; a shadow may become a canary."""
    if trial.version == desk.active:
        raise WrongState(f"Version {trial.version} is active already.")
    running = desk.canary if trial.kind == "canary" else desk.shadow
    if running is not None:
        raise WrongState(f"Version {running.version} is the {running.kind} already: stop it first.")
    if trial.kind == "shadow":
        if desk.canary is not None and desk.canary.version == trial.version:
            raise WrongState(f"Version {trial.version} is the canary: it serves already.")
        return replace(desk, shadow=trial)
    shadow = None if desk.shadow is not None and desk.shadow.version == trial.version else desk.shadow
    return replace(desk, canary=trial, shadow=shadow)


def stopped(desk: Desk, version: int) -> Desk:
    """The version is no longer tried."""
    trial = desk.trial_of(version)
    if trial is None:
        raise WrongState(f"Version {version} is neither shadow nor canary.")
    return replace(desk, canary=None) if trial.kind == "canary" else replace(desk, shadow=None)


def activated(desk: Desk, version: int, by: str, now_s: float) -> Desk:
    """The version is in force, the one before is what a rollback leads to; trials against that one end."""
    if version == desk.active:
        raise WrongState(f"Version {version} is active already.")
    past = (*desk.past, desk.active)[-PAST_KEPT:]
    return replace(desk, active=version, past=past, since_s=now_s, by=by, shadow=None, canary=None)


def rolled_back(desk: Desk, by: str, now_s: float, to: int | None = None) -> Desk:
    """An earlier version is in force again: the one before, or `to`, or the file's; trials end."""
    if to is None:
        if not desk.past:
            raise WrongState("There is nothing to roll back to: no version was ever activated.")
        to = desk.past[-1]
    elif to != FILE and to not in desk.past:
        known = ", ".join(map(str, dict.fromkeys((FILE, *desk.past))))
        raise WrongState(f"Version {to} was not active before: roll back to one of {known}.")
    if to == desk.active:
        raise WrongState(f"Version {to} is active already.")
    past = desk.past[: len(desk.past) - 1 - desk.past[::-1].index(to)] if to in desk.past else ()
    return replace(desk, active=to, past=past, since_s=now_s, by=by, shadow=None, canary=None)


def with_trials_ended(why: str, before: Desk, after: Desk) -> str:
    """Why a version was put in force, and whose trials that ended: they are to find it in the audit trail."""
    trials = [] if before.active == after.active else [one for one in (before.canary, before.shadow) if one is not None]
    told = [f"ended the {one.kind} of version {one.version} by {one.by or 'somebody'}" for one in trials]
    return "; ".join([why, *told] if why else told)


def surplus(desk: Desk, versions: dict[int, Version]) -> tuple[int, ...]:
    """The oldest drafts that nobody tries, where there are too many; what has served is kept for rollbacks."""
    idle = [number for number, version in sorted(versions.items()) if desk.state_of(version) == "draft"]
    kept = {desk.active, *desk.past}
    old = [n for n, version in sorted(versions.items()) if desk.state_of(version) == "retired" and n not in kept]
    return tuple([*old, *idle][: max(0, len(versions) - VERSIONS_KEPT)])


def checked(version: Version, if_match: str | None) -> Version:
    """The version, where it still is at that etag; Conflict where it is not."""
    if if_match is not None and version.etag != if_match:
        message = (
            f"Version {version.id} was changed by {version.by or 'somebody'} meanwhile: it is at {version.etag!r}."
        )
        raise Conflict(message, version, ())
    return version
