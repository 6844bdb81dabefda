"""What a new revision of a target or a drafter may take over from the one before it: its acceptance, doubted."""

import re
from collections.abc import Iterable, Mapping

from policies.families import Family
from policies.formulas import expit, logit

KAPPA = 20.0
"""Exposures that a task's own prior counts for beside what the earlier revision showed."""

DOUBT = 0.3
"""Log-odds by which acceptance is believed lower than it was before the change: .80 becomes .75. A drafter trained
against other weights usually loses some; a request or two of evidence outweighs it either way."""

WATCHED_EXPOSURES = 100.0
"""First drafts of a record until which it is watched: parked classes probe it as after a drift alarm."""

_REVISION = re.compile(r"@[0-9a-f]{12}(?=\+|$)")

Pair = tuple[str, str]
"""A target and a drafter, as acceptance keys name them."""


def unrevised(name: str) -> str:
    """The name without the revision that was found of its weights."""
    return _REVISION.sub("", name)


def predecessor(pair: Pair, families: Mapping[Pair, Family]) -> Pair | None:
    """The same target and drafter at other revisions, the one with most evidence; None where there is none."""
    names = tuple(map(unrevised, pair))
    known = (
        (family.seen_e, other)
        for other, family in families.items()
        if other != pair and family.seen_e > 0 and tuple(map(unrevised, other)) == names
    )
    return max(known, default=(0.0, None), key=lambda found: found[0])[1]


def inherited(prior: tuple[float, ...], sums: Mapping[str, float], lookup: bool) -> tuple[float, ...]:
    """The prior of a task at a new revision: what was seen at the old one over its own prior, less `DOUBT`.

    Lookups are doubted where they begin only: how long a match lasts is the text's doing.
    """
    seen = (
        (sums.get(f"s{i}", 0.0) + KAPPA * p) / (sums.get(f"e{i}", 0.0) + KAPPA) for i, p in enumerate(prior, start=1)
    )
    return tuple(expit(logit(h) - (0.0 if lookup and i else DOUBT)) for i, h in enumerate(seen))


def what_changed(pair: Pair, before: Pair) -> str:
    """Which of the two has another revision, in words."""
    changed = [
        f"{word} {unrevised(now)} is now {_short(now)} (before: {_short(old)})"
        for word, now, old in zip(("target", "drafter"), pair, before, strict=True)
        if now != old
    ]
    return " and ".join(changed)


def _short(name: str) -> str:
    found: Iterable[str] = _REVISION.findall(name)
    return next(iter(found), "@unknown")[1:]
