"""Versions and the audit trail as rows of tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from router.console.pieces import Column
from router.console.policy_editor import KINDS
from router.console.wording import ago, clock
from router.roles import CONSOLE

ROUTERS = "alpharoute"
"""Who stops a canary where no operator does."""

VERSIONS = (
    Column("version", "Version", kind="link"),
    Column("state", "State", kind="chip"),
    Column("by", "By", phone=False),
    Column("age", "When", number=True),
    Column("why", "Why", phone=False),
)
HISTORY = (
    Column("at", "Time (UTC)"),
    Column("action", "What", kind="chip"),
    Column("version", "Version", number=True),
    Column("by", "By"),
    Column("why", "Why", phone=False),
    Column("changes", "Fields changed", number=True, phone=False),
)


def named(version: int) -> str:
    """A version in a sentence; 0 is none of the store's."""
    return f"version {version}" if version else "the policy of the settings"


def version_row(one: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    """A version as a row."""
    return {
        "version": "settings" if one["version"] == 0 else one["version"],
        "href": f"{CONSOLE}/policies?version={one['version']}",
        "state": one["state"],
        "state_kind": KINDS.get(one["state"], ""),
        "by": one["by"],
        "age": f"{ago(now_s - one['at_s'])} ago" if one["at_s"] else "–",
        "why": one["why"],
    }


def history_row(one: Mapping[str, Any], at: int, now_s: float) -> dict[str, Any]:
    """A line of the audit trail as a row."""
    return {
        "id": at,
        "at": clock(one["at_s"], now_s),
        "action": one["action"],
        "action_kind": {"rollback": "warn", "stop": "warn", "activate": "good"}.get(one["action"], ""),
        "version": one["version"],
        "by": one["by"] or "–",
        "why": one["why"],
        "changes": len(one.get("changes") or ()),
    }


def stopped_by_itself(trail: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last thing that was done, where that was a canary which the routers stopped; None otherwise."""
    last = trail[0] if trail else None
    return last if last is not None and last["action"] == "stop" and last["by"] == ROUTERS else None
