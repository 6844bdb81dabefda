"""Changes as others see them: events for operators, differences as text, dry runs in a thread."""

import difflib
import time
from collections.abc import Mapping, Sequence

import yaml

from policies.document import Document
from policies.event import Event, EventKind
from policies.knowledge import Knowledge
from policies.records import Record
from policies.steering_log import Decision
from policies.steering_replay import Probes, dry_run
from policies.steering_reports import DryRun
from router.steering.versions import Action, Desk, Entry, Version

_KINDS: Mapping[Action, EventKind] = {
    "shadow": "shadow_started",
    "canary": "canary_started",
    "activate": "policy_activated",
    "rollback": "policy_rolled_back",
}


def event_of(entry: Entry, before: Desk) -> Event | None:
    """The event of a change; None where nothing that serves or is tried has changed."""
    kind = _KINDS.get(entry.action)
    if entry.action == "stop":
        trial = before.trial_of(entry.version)
        kind = "canary_stopped" if trial is not None and trial.kind == "canary" else "shadow_stopped"
    if kind is None:
        return None
    by = f"by {entry.by}" if entry.by else "by nobody named"
    return Event(kind, f"version {entry.version}", entry.at_s, f"{by}: {entry.why}" if entry.why else by)


def unified(before: Version, after: Version) -> str:
    """Both as YAML, as a unified diff."""
    old, new = (yaml.safe_dump(dict(one.document), sort_keys=False).splitlines() for one in (before, after))
    return "\n".join(difflib.unified_diff(old, new, f"version {before.id}", f"version {after.id}", lineterm=""))


def replayed(
    decisions: Sequence[Decision],
    records: Mapping[str, Record],
    now: Document,
    then: Document,
    probes: Probes,
    now_s: float,
) -> DryRun:
    """A dry run on a copy of what is known, for a thread: between decisions it gives way to requests."""
    sides = []
    for document in (now, then):
        side = Knowledge(document)
        side.install(records, now_s)
        sides.append(side)
    return dry_run(decisions, sides[0], sides[1], probes, pause=lambda: time.sleep(0))
