"""From what clients saw and engines wrote down to what holds and what does not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.soak.clients import End, Ended
from bench.soak.faults import Fault

GRACE_S = 20.0
"""How long after a kill it may still be felt: connections that break, the load balancer's own words, lost answers."""
GROWTH_ALLOWED = 0.05
WARM_UP_SHARE = 0.3
FEWEST_SAMPLES = 10
EXPLAINED = {
    "engine_lost": "engine killed",
    "engine_not_connected": "engine killed",
    "router_lost": "router killed",
}
"""Refusals by the fault that they follow: an answer that has begun cannot be given by another engine, nor by another
router. Every other refusal (no engine, a full pool) is the service's fault: one engine of each pool is always up."""


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
        _none("refusals that no fault explains", len(unexplained(ended, faults))),
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
    kills = [fault for fault in faults if fault.kind == "router killed"]
    worded, bare = {End.COMPLETE, End.REFUSED, End.LEFT}, {End.CUT, End.UNWORDED}
    return [one for one in ended if one.end not in worded and not (one.end in bare and _follows(one, kills))]


def unexplained(ended: Sequence[Ended], faults: Sequence[Fault]) -> list[Ended]:
    """Requests refused in words at a time when nothing had happened that makes these words true."""
    refused = [one for one in ended if one.end is End.REFUSED]
    return [one for one in refused if not _follows(one, [f for f in faults if f.kind == EXPLAINED.get(one.code)])]


def _follows(one: Ended, faults: Sequence[Fault]) -> bool:
    return any(0 <= one.at_s - fault.at_s <= GRACE_S for fault in faults)


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
