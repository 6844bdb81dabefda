"""From what clients saw and engines wrote down to what holds and what does not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.soak.clients import End, Ended
from bench.soak.faults import Fault

GRACE_S = 20.0
"""After a router was killed its clients' connections break, and the load balancer may say so in its own words."""
GROWTH_ALLOWED = 0.05
WARM_UP_SHARE = 0.3
FEWEST_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident memory of one router process at a moment (monotonic)."""

    pid: int
    at_s: float
    mib: float


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, whether it held, and the figure behind it."""

    claim: str
    held: bool
    figure: float
    allowed: float


def checks(
    ended: Sequence[Ended],
    faults: Sequence[Fault],
    lines: Iterable[str],
    inside_at_end: int,
    memory: Sequence[Sample],
) -> list[Check]:
    """All claims; `lines` are the engines' own, `inside_at_end` the requests they still held when clients were done."""
    served = Counter(name for event, _, name in (line.partition(" ") for line in lines) if event == "served")
    complete = {one.name for one in ended if one.end is End.COMPLETE}
    growth = memory_growth(memory)
    return [
        _none("requests lost without a clear error", len(lost(ended, faults))),
        _none("requests that more than one engine answered to the end", sum(count > 1 for count in served.values())),
        _none("complete answers that no engine says it gave", sum(name not in served for name in complete)),
        _none("requests in an engine after all clients were done", inside_at_end),
        Check("growth of a router's memory after warm-up", growth <= GROWTH_ALLOWED, round(growth, 4), GROWTH_ALLOWED),
    ]


def lost(ended: Sequence[Ended], faults: Sequence[Fault]) -> list[Ended]:
    """Requests whose clients cannot know what became of them.

    A connection that breaks, or a load balancer's own error, is clear enough only where a router had just been killed:
    nobody was left to word it.
    """
    kills = [fault.at_s for fault in faults if fault.kind == "router killed"]
    excused = [one for one in ended if any(0 <= one.at_s - at_s <= GRACE_S for at_s in kills)]
    worded = {End.COMPLETE, End.REFUSED, End.LEFT}
    bare = {End.CUT, End.UNWORDED}
    names = {one.name for one in excused}
    return [one for one in ended if one.end not in worded and not (one.end in bare and one.name in names)]


def memory_growth(memory: Sequence[Sample]) -> float:
    """The largest growth of one process between the end of its warm-up and its end, as a share; 0 where none lived
    long enough."""
    grown = [0.0]
    for pid in {sample.pid for sample in memory}:
        own = [sample.mib for sample in memory if sample.pid == pid]
        if len(own) >= FEWEST_SAMPLES:
            warm = own[int(len(own) * WARM_UP_SHARE) :]
            edge = max(1, len(warm) // 5)
            first, last = sorted(warm[:edge])[edge // 2], sorted(warm[-edge:])[edge // 2]
            grown.append(last / first - 1)
    return max(grown)


def codes(ended: Sequence[Ended]) -> Mapping[str, int]:
    """Errors by code."""
    return Counter(one.code for one in ended if one.code)


def _none(claim: str, figure: int) -> Check:
    return Check(claim, figure == 0, figure, 0)
