"""What a deployment has by name, and what a policy names that it has not: allowed, but most often a slip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.document import Document
from policies.errors import Problem
from policies.problems import nearest


@dataclass(frozen=True, slots=True)
class Deployment:
    """Names that requests can have here: tasks of the classifier, pools, served models."""

    tasks: Sequence[str]
    pools: Sequence[str]
    models: Sequence[str]


def unknown_names(document: Document, deployment: Deployment) -> tuple[Problem, ...]:
    """A warning for each name of a document that the deployment does not have, with the nearest that it has.

    Such a policy is valid, for pool, model and a newer classifier may be yet to come. A pool that is not there takes
    nothing, and a rule on a task or model that no request has never applies.
    """
    found = [
        *_among("task", [(f"tasks.{name}", name) for name in document.tasks], deployment.tasks),
        *_among("task", _named(document, "task"), deployment.tasks),
        *_among("model", _named(document, "model"), deployment.models),
        *_among("pool", _pools(document), deployment.pools),
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


def _among(kind: str, named: Iterator[tuple[str, str]] | list[tuple[str, str]], known: Sequence[str]) -> list[Problem]:
    there = tuple(sorted(set(known)))
    message = f"unknown {kind}: this deployment has none of the name"
    return [Problem(path, name, message, there, nearest(name, there)) for path, name in named if name not in there]
