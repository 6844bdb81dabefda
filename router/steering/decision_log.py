"""The log of decisions: written in the background, sampled above a rate, read by searches and dry runs."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from pydantic import TypeAdapter, ValidationError

from policies.choice import Choice
from policies.replica import Replica
from policies.request import Request
from policies.steering_log import Decision, Ending, decision_of
from router.state.redis_store import AsyncRedis, Keys, or_store_error
from router.state.store import Clock, StoreError

OWN_KEPT = 500
WAITING = 500
PAGE = 500

_DECISION = TypeAdapter(Decision)


class DecisionStore(Protocol):
    """The newest decisions of all routers; every method may raise StoreError."""

    async def append(self, decisions: Sequence[Decision]) -> None:
        """Add some; the oldest fall out."""

    async def page(self, before: str, count: int) -> tuple[Sequence[Decision], str]:
        """So many that came before a place ("": the newest), newest first, and the place to ask on from ("": none)."""


class MemoryDecisionStore:
    """Decisions inside one process, for tests and for a router that runs alone."""

    def __init__(self, kept: int) -> None:
        self._kept: deque[Decision] = deque(maxlen=kept)

    async def append(self, decisions: Sequence[Decision]) -> None:
        """See DecisionStore."""
        self._kept.extendleft(decisions)

    async def page(self, before: str, count: int) -> tuple[Sequence[Decision], str]:
        """See DecisionStore."""
        start = int(before or 0)
        found = list(self._kept)[start : start + count]
        return found, str(start + count) if start + count < len(self._kept) else ""


class RedisDecisionStore:
    """`DecisionStore` over a capped stream."""

    def __init__(self, redis: AsyncRedis, keys: Keys, kept: int) -> None:
        self._redis = redis
        self._keys = keys
        self._kept = kept

    async def append(self, decisions: Sequence[Decision]) -> None:
        """See DecisionStore."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            for decision in decisions:
                row = {"row": orjson.dumps(decision)}
                pipe.xadd(self._keys.decisions, row, maxlen=self._kept, approximate=True)
            await pipe.execute()

    async def page(self, before: str, count: int) -> tuple[Sequence[Decision], str]:
        """See DecisionStore; rows of other versions of this product are left out."""
        async with or_store_error():
            rows = await self._redis.xrevrange(self._keys.decisions, f"({before}" if before else "+", count=count)
        found = await asyncio.to_thread(_read, [fields.get("row", "") for _, fields in rows])
        return found, rows[-1][0] if len(rows) == count else ""


def _read(texts: Iterable[str]) -> list[Decision]:
    found = []
    for text in texts:
        try:
            found.append(_DECISION.validate_json(text))
        except ValidationError:
            continue
        time.sleep(0)  # requests go on beside this thread
    return found


@dataclass(frozen=True, slots=True)
class Sought:
    """Which decisions are looked for; None asks for any."""

    request_id: str | None = None
    task: str | None = None
    pool: str | None = None
    replica: str | None = None
    reason: str | None = None
    policy: int | None = None

    def fits(self, one: Decision) -> bool:
        """Whether this is such a one."""
        return (
            self.request_id in (None, one.request_id)
            and self.task in (None, one.request.task)
            and self.pool in (None, one.pool)
            and self.replica in (None, one.replica)
            and self.reason in (None, one.reason)
            and self.policy in (None, one.policy)
        )


@dataclass(frozen=True, slots=True)
class _Row:
    request_id: str
    request: Request
    choice: Choice
    ending: Ending
    at_s: float


class DecisionLog:
    """One router's part in the log. `per_s` decisions a second are kept, evenly over time; more are left out."""

    def __init__(
        self, store: DecisionStore, router: str, per_s: float, seen: Callable[[str], Sequence[Replica]], clock_s: Clock
    ) -> None:
        """`seen` are the replicas of a model, for policies whose choices carry no scores."""
        self._store = store
        self._router = router
        self._per_s = per_s
        self._seen = seen
        self._clock_s = clock_s
        self._room = max(1.0, per_s)
        self._at_s = clock_s()
        self._waiting: deque[_Row] = deque(maxlen=WAITING)
        self._unsent: list[Decision] = []
        self._own: deque[Decision] = deque(maxlen=OWN_KEPT)

    def add(self, request_id: str, request: Request, choice: Choice, ending: Ending) -> None:
        """One decision and how it went; it costs a reference, the rest is done in the background."""
        now_s = self._clock_s()
        self._room = min(max(1.0, self._per_s), self._room + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._room >= 1:
            self._room -= 1
            self._waiting.append(_Row(request_id, request, choice, ending, now_s))

    async def flush(self) -> None:
        """Write what waits; where the store is away the newest are kept."""
        while self._waiting:
            row = self._waiting.popleft()
            seen = self._seen(row.request.model)
            args = (row.request_id, self._router, row.request, row.choice, row.ending, row.at_s, seen)
            decision = decision_of(*args)
            self._own.appendleft(decision)
            self._unsent.append(decision)
            await asyncio.sleep(0)
        self._unsent = self._unsent[-WAITING:]
        if self._unsent:
            sending, self._unsent = self._unsent, []
            try:
                await self._store.append(sending)
            except StoreError:
                self._unsent = sending + self._unsent
                raise

    async def search(self, sought: Sought | None = None, last: int = 100) -> Sequence[Decision]:
        """The newest decisions of all routers that are sought; this router's own while the store is away."""
        wanted = sought or Sought()
        try:
            return await self._stored(wanted, last)
        except StoreError:
            return [one for one in self._own if wanted.fits(one)][:last]

    async def _stored(self, sought: Sought, last: int) -> Sequence[Decision]:
        found: list[Decision] = []
        place, more = "", True
        while more and len(found) < last:
            page, place = await self._store.page(place, PAGE)
            found += [one for one in page if sought.fits(one)]
            more = bool(place)
        return found[:last]
