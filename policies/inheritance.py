"""What a new revision of a target or a drafter may take over from the one before it: its acceptance, doubted."""

import math
import re
from collections.abc import Iterable, Mapping

from policies.families import Family
from policies.formulas import expit, logit
from policies.records import EMPTY, Delta, Record

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


MET = "^met"
"""Field of a revision's record: 1 over the time (Unix seconds) of its first lesson. Of two values the larger is kept,
and that is the earlier one."""


def revision_key(pair: Pair) -> str:
    """The record of when a pair of revisions was first met."""
    return f"revision:{pair[0]}|{pair[1]}"


def met_delta(pair: Pair, now_s: float) -> Delta:
    """Note that a pair was met."""
    return Delta(revision_key(pair), {MET: 1 / max(now_s, 1.0)})


def earliness(pair: Pair, families: Mapping[Pair, Family], records: Mapping[str, Record], now_s: float) -> float:
    """What is the larger, the earlier a pair was first met: 0 for one that is still to come.

    One that has taught and left no note was there before notes were taken, or for so long that its own expired.
    """
    met = records.get(revision_key(pair), EMPTY).fields.get(MET)
    if met is not None:
        return met
    return math.inf if pair in families and families[pair].evidence(now_s) > 0 else 0.0


def predecessor(
    pair: Pair, families: Mapping[Pair, Family], records: Mapping[str, Record], now_s: float
) -> Pair | None:
    """The same target and drafter at earlier revisions, the one with most evidence; None where there is none.

    Only earlier ones: while routers roll, answers of the old revision still come in after the first of the new.
    """
    names = tuple(map(unrevised, pair))
    others = [other for other in families if other != pair and tuple(map(unrevised, other)) == names]
    if not others:
        return None
    own = earliness(pair, families, records, now_s)
    earlier = [
        (seen, other)
        for other in others
        if (seen := families[other].evidence(now_s)) > 0 and earliness(other, families, records, now_s) > own
    ]
    return max(earlier, default=(0.0, None), key=lambda found: found[0])[1]


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
