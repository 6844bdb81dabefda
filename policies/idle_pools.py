"""Which pools that speculate a policy leaves idle for ever, and by what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.coverage import ALWAYS, covers
from policies.deployment import Deployment
from policies.document import Document
from policies.errors import Problem
from policies.pool_reach import asked_of_rule, asked_of_task
from policies.rules import Hours

WEEK = frozenset(range(7))


def idle_pools(document: Document, deployment: Deployment) -> Iterator[Problem]:
    """A warning where no request may ever speculate, or not in some of the pools that do; the first reason found."""
    speculative = deployment.speculative
    if not speculative:
        return
    off = _all_off(document, deployment)
    if off is not None:
        said = f"no request ever speculates: {', '.join(speculative)} would stand idle"
        yield Problem(off.path, off.value, said)
        return
    limit = _limit(document, deployment)
    left_out = [name for name in speculative if name not in limit.pools] if limit is not None else []
    if limit is not None and left_out and any(name in deployment.pools for name in limit.pools):
        said = f"no request ever speculates in {', '.join(left_out)}: none may go there"
        yield Problem(limit.path, list(limit.pools), said, tuple(sorted(deployment.pools)))


@dataclass(frozen=True, slots=True)
class Cause:
    """What of a document leaves pools idle: where, what stands there."""

    path: str
    value: object


def _all_off(document: Document, deployment: Deployment) -> Cause | None:
    for i, window in enumerate(document.windows):
        if window.k_max == 0 and window.segment is None and _always_open(window):
            return Cause(f"windows.{i}.k_max", 0)
    for i in reversed(range(len(document.rules))):
        asked = asked_of_rule(i, document.rules[i])
        if asked.on:
            return None
        if asked.off and covers(document.rules[i].when, ALWAYS):
            by_mode = asked.mode == "vanilla"
            return Cause(asked.mode_path if by_mode else f"{asked.path}.k", asked.mode if by_mode else 0)
    entries = [asked_of_task(name, document) for name in _tasks(document, deployment)]
    return Cause("tasks", "off") if entries and all(one is not None and one.off for one in entries) else None


def _always_open(hours: Hours) -> bool:
    whole_day = (hours.from_hour, hours.to_hour) == (0, 24) or hours.from_hour == hours.to_hour
    return whole_day and (hours.days is None or set(hours.days) == WEEK)


@dataclass(frozen=True, slots=True)
class Limit:
    """The only pools that requests may go to, by what of the document."""

    path: str
    pools: Sequence[str]


def _limit(document: Document, deployment: Deployment) -> Limit | None:
    """None where any pool may be used."""
    named: set[str] = set()
    for i in reversed(range(len(document.rules))):
        rule = document.rules[i]
        named.update(rule.then.pools or ())
        if rule.then.pools is not None and covers(rule.when, ALWAYS):
            return Limit(f"rules.{i}.then.pools", tuple(sorted(named)))
    for name in _tasks(document, deployment):
        entry = document.tasks.get(name)
        if entry is None or entry.pools is None:
            return None
        named.update(entry.pools)
    return Limit("tasks", tuple(sorted(named)))


def _tasks(document: Document, deployment: Deployment) -> set[str]:
    """Every task that a request can have: clients may name those of the policy."""
    return {*deployment.tasks, *document.tasks}
