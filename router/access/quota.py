"""How much of its limits a key has used, and whether one more request fits: pure arithmetic on a router's own copy.

Requests and tokens are counted by clock minute. What was used in the last 60 s is estimated from two minutes, as
the whole of this one and the part of the former that is still within 60 s, taken as evenly spread: a window that
slides, at the cost of two numbers. A router counts its own exactly and knows of the others what they last said.
What runs is of no minute: others' requests count until they say otherwise, or say nothing for a minute.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from policies.quick import quick
from router.access.keys import KeyLimits

MINUTE_S = 60
What = Literal["requests", "tokens", "concurrent"]


@quick
@dataclass(frozen=True, slots=True)
class Use:
    """What was used in one minute, and how many requests are being answered."""

    requests: int = 0
    tokens: int = 0
    running: int = 0

    def __add__(self, other: "Use") -> "Use":
        return Use(self.requests + other.requests, self.tokens + other.tokens, self.running + other.running)


NOTHING = Use()


@quick
@dataclass(frozen=True, slots=True)
class Room:
    """What a limit has left: `reset_s` until all of it is free again, `wait_s` until one more fits (0: now)."""

    limit: int
    left: int
    reset_s: float
    wait_s: float


@dataclass(slots=True)
class Account:
    """One key at one router: its own use by minute, and that of the other routers as they last told it.

    `told_running` is what the others last heard from here; what runs `elsewhere` is believed `until_s`.
    """

    mine: dict[int, Use] = field(default_factory=dict)
    others: dict[int, Use] = field(default_factory=dict)
    running: int = 0
    told_running: int = 0
    elsewhere: int = 0
    until_s: float = 0.0

    def add(self, now_s: float, requests: int = 0, tokens: int = 0) -> None:
        """Count use in the minute of `now_s`; negative tokens give back what was estimated too high."""
        minute = minute_of(now_s)
        used = self.mine.get(minute, NOTHING)
        self.mine[minute] = Use(used.requests + requests, used.tokens + tokens)

    def forget(self, before: int) -> None:
        """Drop minutes that count no longer."""
        self.mine = {minute: use for minute, use in self.mine.items() if minute >= before}
        self.others = {minute: use for minute, use in self.others.items() if minute >= before}

    def used(self, minute: int, routers: int | None) -> Use:
        """All routers' use in a minute; with `routers`, taking each of them to have used at least as much as this."""
        mine, others = self.mine.get(minute, NOTHING), self.others.get(minute, NOTHING)
        if routers is not None:
            rest = routers - 1
            others = Use(max(others.requests, mine.requests * rest), max(others.tokens, mine.tokens * rest))
        return Use(mine.requests + others.requests, mine.tokens + others.tokens)

    def running_now(self, now_s: float, routers: int | None) -> int:
        """Requests that all routers answer; `routers` as for `used`."""
        elsewhere = self.elsewhere if now_s < self.until_s else 0
        return self.running + (elsewhere if routers is None else max(elsewhere, self.running * (routers - 1)))


def minute_of(now_s: float) -> int:
    """The clock minute, counted from 1970."""
    return int(now_s // MINUTE_S)


def rooms(account: Account, limits: KeyLimits, now_s: float, routers: int | None = None) -> Mapping[What, Room]:
    """What each limit of a key has left now.

    `routers` is given while nothing is heard of the others: then each router takes a like share, 1 / routers.
    """
    minute = minute_of(now_s)
    now, before = account.used(minute, routers), account.used(minute - 1, routers)
    gone = now_s / MINUTE_S - minute
    found: dict[What, Room] = {}
    if limits.requests_per_minute is not None:
        found["requests"] = _room(limits.requests_per_minute, now.requests, before.requests, gone)
    if limits.tokens_per_minute is not None:
        found["tokens"] = _room(limits.tokens_per_minute, now.tokens, before.tokens, gone)
    if limits.concurrent is not None:
        left = max(0, limits.concurrent - account.running_now(now_s, routers))
        found["concurrent"] = Room(limits.concurrent, left, 0.0, 0.0 if left else 1.0)
    return found


def fullest(found: Mapping[What, Room]) -> What | None:
    """The limit that refuses a request now, the one with the longest wait first; None where it fits."""
    full: Iterable[What] = (what for what, room in found.items() if room.wait_s > 0)
    return max(full, key=lambda what: found[what].wait_s, default=None)


def _room(limit: int, now: int, before: int, gone: float) -> Room:
    used = now + before * (1 - gone)
    left = min(limit, max(0, math.floor(limit - used)))
    reset_s = MINUTE_S * ((2 - gone) if now > 0 else (1 - gone) if before > 0 else 0.0)
    wait_s = 0.0 if left >= 1 else round(_wait_s(limit, now, before, gone), 3) + 0.001
    return Room(limit, left, reset_s, wait_s)


def _wait_s(limit: int, now: int, before: int, gone: float) -> float:
    """Seconds until the estimate has fallen to `limit - 1`, if nothing more is used."""
    if now <= limit - 1:
        # Only the former minute's part must shrink: now + before·(1 − g) = limit − 1.
        return MINUTE_S * max(0.0, 1 - (limit - 1 - now) / before - gone)
    # This minute alone fills it: wait for the next one, in which it is the former.
    return MINUTE_S * (1 - gone + 1 - (limit - 1) / now)
