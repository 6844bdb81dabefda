"""Limits of keys over several routers: decided at once from this router's copy, kept in step in the background.

Each router writes its own totals under its own name, absolute and not as increments, so that a write whose answer
was lost may be repeated, and data that Redis lost is there again with the next exchange.
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from router.access.keys import Key
from router.access.quota import MINUTE_S, NOTHING, Account, Room, Use, What, fullest, minute_of, rooms
from router.state.store import Clock, StoreError

logger = logging.getLogger("alpharoute.usage")

EXCHANGE_S = 0.025
"""How often use is exchanged while it changes: what other routers admit meanwhile may exceed a limit."""

QUIET_S = 0.25
"""How often while nothing changes here, as in long streams: a round costs 0.8 ms, at every 25 ms 3 % of a core."""

EACH_S = 0.0004
"""Added to that for every key in use: an exchange costs some 15 µs for each, and may take 5 % of a router's time."""

ALONE_AFTER_S = 2.0
"""Without an exchange for so long, a router keeps to its share of every limit."""

CARRIED_S = 5.0
"""Into a minute, for so long a router that has not told of it yet is taken to answer what it did in the one before."""

LOG_EVERY_S = 60.0

Sheet = Mapping[str, Use]
"""Use by key id."""


class UsageStore(Protocol):
    """Where routers tell each other what was used; may raise StoreError."""

    async def exchange(self, router: str, mine: Mapping[int, Sheet]) -> Mapping[int, Mapping[str, Sheet]]:
        """Write this router's totals by minute; what every router wrote, by minute and router."""


class MemoryUsageStore:
    """Use inside one process, for tests and for a router that runs alone."""

    def __init__(self) -> None:
        self._minutes: defaultdict[int, dict[str, Sheet]] = defaultdict(dict)

    async def exchange(self, router: str, mine: Mapping[int, Sheet]) -> Mapping[int, Mapping[str, Sheet]]:
        """See UsageStore."""
        for minute, sheet in mine.items():
            if sheet:
                self._minutes[minute][router] = {**self._minutes[minute].get(router, {}), **sheet}
        for minute in [minute for minute in self._minutes if minute < min(mine, default=0)]:
            del self._minutes[minute]
        return {minute: dict(self._minutes[minute]) for minute in mine}


@dataclass(frozen=True, slots=True)
class Refused:
    """Which limit is full, and how all of them stand."""

    what: What
    rooms: Mapping[What, Room]


@dataclass(slots=True)
class Admitted:
    """A request that counts against a key's limits until it is closed; `rooms` is how they stand with it."""

    rooms: Mapping[What, Room]
    account: Account
    estimate: int
    at_s: float


class Usage:
    """The limits of all keys at this router."""

    def __init__(self, store: UsageStore, router: str, clock_s: Clock) -> None:
        self._store = store
        self._router = router
        self._clock_s = clock_s
        self._accounts: dict[str, Account] = {}
        self._routers = 1
        self._heard_s = clock_s()
        self._quiet_until_s = 0.0
        self._changed = asyncio.Event()

    def admit(self, key: Key, estimate: int) -> Admitted | Refused:
        """Count one more request and its tokens as estimated, or say which limit it does not fit."""
        now_s = self._clock_s()
        account = self._accounts.setdefault(key.id, Account())
        found = self._rooms(account, key, now_s)
        if (full := fullest(found)) is not None:
            return Refused(full, found)
        account.add(now_s, requests=1, tokens=estimate)
        account.running += 1
        self._changed.set()
        return Admitted(self._rooms(account, key, now_s), account, estimate, now_s)

    def close(self, admitted: Admitted, tokens: int) -> None:
        """The request is over and took so many tokens: more than estimated count now, fewer are given back in the
        minute of the estimate, for in a later one they would be credit."""
        admitted.account.running -= 1
        more = tokens - admitted.estimate
        if more > 0:
            admitted.account.add(self._clock_s(), tokens=more)
        elif minute_of(admitted.at_s) in admitted.account.mine:
            admitted.account.add(admitted.at_s, tokens=more)
        self._changed.set()

    async def run(self, every_s: float = EXCHANGE_S, quiet_s: float = QUIET_S) -> None:
        """Exchange with the other routers until cancelled; the first change after a quiet time is told at once."""
        task = asyncio.current_task()
        while task is not None and not task.cancelling():
            self._changed.clear()
            await self.exchange()
            await asyncio.sleep(max(every_s, len(self._accounts) * EACH_S))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(quiet_s):
                    await self._changed.wait()

    async def exchange(self) -> None:
        """One round; nothing is asked while no key with limits is in use."""
        now_s = self._clock_s()
        minute = minute_of(now_s)
        self._drop_idle(now_s)
        if not self._accounts:
            self._heard_s = now_s
            return
        mine = self._sheets(minute)
        try:
            told = await self._store.exchange(self._router, mine)
        except StoreError as error:
            self._say(f"Redis is away, each router keeps to its share of the limits: {error}")
        except Exception as error:
            # As with what is learnt: whatever is written there, this loop must go on.
            self._say(f"Use of keys cannot be exchanged: {type(error).__name__}")
        else:
            self._hear(told, now_s)
            self._heard_s = self._clock_s()
            for name, use in mine[minute].items():
                self._accounts[name].told_running = use.running

    def _rooms(self, account: Account, key: Key, now_s: float) -> Mapping[What, Room]:
        alone = now_s - self._heard_s > ALONE_AFTER_S
        return rooms(account, key.limits, now_s, self._routers if alone else None)

    def _drop_idle(self, now_s: float) -> None:
        oldest = minute_of(now_s) - 1
        for name, account in list(self._accounts.items()):
            account.forget(oldest)
            # What the others believe to be running here they must hear to be over.
            if not (account.mine or account.told_running or account.running_now(now_s, None)):
                del self._accounts[name]

    def _sheets(self, minute: int) -> dict[int, dict[str, Use]]:
        now: dict[str, Use] = {}
        before: dict[str, Use] = {}
        for name, account in self._accounts.items():
            mine = account.mine.get(minute, NOTHING)
            now[name] = Use(mine.requests, mine.tokens, account.running)
            if (last := account.mine.get(minute - 1)) is not None:
                # For those whose clocks are behind this is the minute they are in.
                before[name] = Use(last.requests, last.tokens, account.running)
        return {minute - 1: before, minute: now}

    def _hear(self, told: Mapping[int, Mapping[str, Sheet]], now_s: float) -> None:
        minute = minute_of(now_s)
        for account in self._accounts.values():
            account.others, account.elsewhere = {}, 0
            account.until_s = (minute + 1) * MINUTE_S + CARRIED_S
        others = {router for sheets in told.values() for router in sheets} - {self._router}
        self._routers = 1 + len(others)
        carried = told[minute - 1] if now_s - minute * MINUTE_S < CARRIED_S else {}
        for router in others:
            for at, sheets in told.items():
                self._add(at, sheets.get(router, {}))
            # Of each key what was told last.
            self._add_running({**carried.get(router, {}), **told[minute].get(router, {})})

    def _add(self, minute: int, sheet: Sheet) -> None:
        for name, use in sheet.items():
            known = self._accounts.get(name)
            if known is not None:
                known.others[minute] = known.others.get(minute, NOTHING) + use

    def _add_running(self, sheet: Sheet) -> None:
        for name, use in sheet.items():
            if (known := self._accounts.get(name)) is not None:
                known.elsewhere += use.running

    def _say(self, why: str) -> None:
        if time.monotonic() >= self._quiet_until_s:
            self._quiet_until_s = time.monotonic() + LOG_EVERY_S
            logger.warning("%s", why)
