"""Objectives that go by targets where a policy has none."""

from collections.abc import Iterator

from policies.document import Document
from policies.errors import Problem
from policies.rules import NONE, Objective


def aimless(document: Document) -> Iterator[Problem]:
    """A warning for each `goodput` without any target: it is the mean time then, under another name."""
    if _aimless(document.objective):
        yield _warning("objective.kind")
    for segment, one in document.objectives.items():
        if one.kind == "goodput" and one.target(segment) == NONE:
            yield _warning(f"objectives.{segment}")
    for i, rule in enumerate(document.rules):
        if rule.then.objective is not None and _aimless(rule.then.objective):
            yield _warning(f"rules.{i}.then.objective")


def _aimless(objective: Objective) -> bool:
    return objective.kind == "goodput" and all(target == NONE for target in objective.targets.values())


def _warning(path: str) -> Problem:
    return Problem(path, "goodput", "is mean_time here: there is no target to meet; set targets")
