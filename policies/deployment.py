"""What a deployment has by name, and what a policy names that it has not: allowed, but most often a slip."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from policies.document import Document
from policies.errors import Problem
from policies.problems import nearest
from policies.rules import Objective


@dataclass(frozen=True, slots=True)
class Deployment:
    """Names that requests can have here: tasks of the classifier, served models, segments; and pools with the largest
    k of each (0: vanilla)."""

    tasks: Sequence[str]
    pools: Mapping[str, int]
    models: Sequence[str]
    segments: Sequence[str]

    @property
    def speculative(self) -> tuple[str, ...]:
        """The pools that speculate."""
        return tuple(sorted(name for name, k_max in self.pools.items() if k_max))


Named = Iterable[tuple[str, str]]
"""Paths in a document, each with the name that stands there."""


def unknown_names(document: Document, deployment: Deployment) -> tuple[Problem, ...]:
    """A warning for each name of a document that the deployment does not have, with the nearest that it has.

    Such a policy is valid, for pool, model and a newer classifier may be yet to come. A pool that is not there takes
    nothing, and a rule on a task, model or segment that no request has never applies.
    """
    found = [
        *_among("task", [(f"tasks.{name}", name) for name in document.tasks], deployment.tasks),
        *_among("task", _named(document, "task"), deployment.tasks),
        *_among("model", _named(document, "model"), deployment.models),
        *_among("pool", _pools(document), tuple(deployment.pools)),
        *_among("segment", _segments(document), deployment.segments),
    ]
    return tuple(found)


def _named(document: Document, field: str) -> Iterator[tuple[str, str]]:
    for i, rule in enumerate(document.rules):
        for j, name in enumerate(getattr(rule.when, field) or ()):
            yield f"rules.{i}.when.{field}.{j}", name


def _pools(document: Document) -> Iterator[tuple[str, str]]:
    places = [(f"tasks.{task}.pools", entry.pools) for task, entry in document.tasks.items()]
    places += [(f"rules.{i}.then.pools", rule.then.pools) for i, rule in enumerate(document.rules)]
    for path, pools in places:
        for j, name in enumerate(pools or ()):
            yield f"{path}.{j}", name


def _segments(document: Document) -> Iterator[tuple[str, str]]:
    yield from _named(document, "segment")
    yield from ((f"windows.{i}.segment", one.segment) for i, one in enumerate(document.windows) if one.segment)
    yield from ((f"objectives.{segment}", segment) for segment in document.objectives)
    for path, objective in _objectives(document):
        yield from ((f"{path}.targets.{segment}", segment) for segment in objective.targets)


def _objectives(document: Document) -> Iterator[tuple[str, Objective]]:
    """Each where it is written: a kind alone has the targets of `objective` as they are."""
    yield "objective", document.objective
    others = [(f"objectives.{segment}", one) for segment, one in document.objectives.items()]
    rules = ((f"rules.{i}.then.objective", rule.then.objective) for i, rule in enumerate(document.rules))
    others += [(path, one) for path, one in rules if one is not None]
    yield from ((path, one) for path, one in others if one.targets is not document.objective.targets)


def _among(kind: str, named: Named, known: Sequence[str]) -> list[Problem]:
    there = tuple(sorted(set(known)))
    message = f"unknown {kind}: this deployment has none of the name"
    return [Problem(path, name, message, there, nearest(name, there)) for path, name in named if name not in there]
