"""What a policy asks of pools that they cannot do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policies.deployment import Deployment
from policies.document import Document
from policies.errors import Problem
from policies.rules import KRange, Mode, Rule


@dataclass(frozen=True, slots=True)
class Asked:
    """The k, mode and pools that a task's entry or a rule fixes, and where it does; None leaves each as it is."""

    path: str
    mode_path: str
    k: KRange | None
    mode: Mode | None
    pools: tuple[str, ...] | None

    @property
    def off(self) -> bool:
        """Whether it turns speculation off."""
        return self.mode == "vanilla" or (self.k is not None and self.k.max == 0)

    @property
    def on(self) -> bool:
        """Whether it gives speculation back where it was off."""
        return not self.off and (self.k is not None or self.mode is not None)


def asked_of_task(name: str, document: Document) -> Asked | None:
    """What the document fixes for a task."""
    entry = document.tasks.get(name)
    if entry is None:
        return None
    k = entry.k if "k" in entry.model_fields_set else None
    return Asked(f"tasks.{name}", f"tasks.{name}.mode", k, entry.mode, entry.pools)


def asked_of_rule(at: int, rule: Rule) -> Asked:
    """What a rule fixes."""
    then, path = rule.then, f"rules.{at}.then"
    named = "mode" if then.speculation is None else "speculation"
    return Asked(path, f"{path}.{named}", then.k, then.wanted, then.pools)


def beyond_pools(document: Document, deployment: Deployment) -> Iterator[Problem]:
    """A warning for each k that none of its pools takes, and for speculation asked of pools that have none."""
    for asked in _asked(document):
        pools = {name: k_max for name, k_max in deployment.pools.items() if asked.pools is None or name in asked.pools}
        yield from _too_deep(asked, pools)
    most = max(deployment.pools.values(), default=0)
    for i, window in enumerate(document.windows):
        if 0 < most <= window.k_max:
            said = f"caps nothing: no pool takes a k above {most}"
            yield Problem(f"windows.{i}.k_max", window.k_max, said, _told(deployment.pools))
    trying = document.exploration
    if "k" in trying.model_fields_set and 0 < most < trying.k:
        yield Problem("exploration.k", trying.k, _cut(most), _told(deployment.pools), str(most))


def _asked(document: Document) -> Iterator[Asked]:
    yield from (asked for name in document.tasks if (asked := asked_of_task(name, document)) is not None)
    yield from (asked_of_rule(i, rule) for i, rule in enumerate(document.rules))


def _too_deep(asked: Asked, pools: Mapping[str, int]) -> Iterator[Problem]:
    if not pools or asked.off:  # names of no pool are said to be unknown
        return
    most, k = max(pools.values()), asked.k
    if most == 0 and asked.mode == "speculative":
        yield Problem(asked.mode_path, asked.mode, "has no effect: none of its pools speculates", _told(pools))
    if k is None:
        return
    if most == 0:
        yield Problem(f"{asked.path}.k", _said(k), "has no effect: none of its pools speculates", _told(pools))
    elif k.min > most:
        where = f"{asked.path}.k" if k.min == k.max else f"{asked.path}.k.min"
        yield Problem(where, k.min, _cut(most), _told(pools), str(most))
    elif "max" in k.model_fields_set and k.max > most:
        yield Problem(f"{asked.path}.k.max", k.max, _cut(most), _told(pools), str(most))


def _said(k: KRange) -> object:
    return k.min if k.min == k.max else {"min": k.min, "max": k.max}


def _cut(most: int) -> str:
    return f"more than any of its pools takes: k is at most {most} there"


def _told(pools: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{name} (k up to {k_max})" if k_max else f"{name} (vanilla)" for name, k_max in sorted(pools.items()))
