"""State in Redis: every key, the records and the events; `router.state.redis_client` makes the client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from math import isfinite
from typing import Final
from uuid import uuid4

import orjson
from redis.exceptions import RedisClusterException, RedisError

from policies.event import Event
from policies.records import Delta, Record
from router.state.redis_client import AsyncRedis as AsyncRedis
from router.state.redis_client import connect as connect
from router.state.store import Changes, Copies, Cursor, Logged, LostError, Restored, StoreError, new_generation
from router.state.together import Together

RECORD_EXPIRY_S: Final = 14 * 24 * 3600
"""A record nobody adds to for two weeks is gone: tasks and segments that no longer exist must not pile up."""

BATCH_EXPIRY_S: Final = 3600
"""How long a batch whose answer was lost may be sent again without counting twice, and how long after an event another
router's telling of the same is known for one."""

EVENTS_KEPT: Final = 10_000

AT_ONCE: Final = 100
"""Records in one command: more would keep Redis, or a router's requests, waiting for longer than a millisecond."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key; the braces keep them in one slot of a Redis Cluster, so that a script may touch several."""

    prefix: str = "alpharoute"

    def record(self, name: str) -> str:
        """Hash with a time to live: the fields of one record, and what merge.lua keeps beside them."""
        return f"{{{self.prefix}}}:record:{name}"

    @property
    def index(self) -> str:
        """Sorted set: record name → version of its last change."""
        return f"{{{self.prefix}}}:records"

    @property
    def generation(self) -> str:
        """String: named when Redis was first found empty; another one means that what it held was lost."""
        return f"{{{self.prefix}}}:generation"

    @property
    def version(self) -> str:
        """Counter of changes to records."""
        return f"{{{self.prefix}}}:version"

    def batch(self, name: str) -> str:
        """String with a time to live: the batch of changes was written."""
        return f"{{{self.prefix}}}:batch:{name}"

    @property
    def events(self) -> str:
        """Capped stream of events."""
        return f"{{{self.prefix}}}:events"

    def told(self, what: str) -> str:
        """String with a time to live: the batch that told of an event."""
        return f"{{{self.prefix}}}:told:{what}"

    @property
    def pages(self) -> str:
        """Hash: router → when, and its metrics page."""
        return f"{{{self.prefix}}}:pages"

    def replica(self, name: str) -> str:
        """String with a time to live: one replica's heartbeat as JSON."""
        return f"{{{self.prefix}}}:replica:{name}"

    @property
    def replicas(self) -> str:
        """Set: names of replicas that may be alive."""
        return f"{{{self.prefix}}}:replicas"

    def reload(self, replica: str) -> str:
        """String with a time to live: the replica is to reload its engine, and has not heard it yet."""
        return f"{{{self.prefix}}}:reload:{replica}"

    def reload_turn(self, turn: str) -> str:
        """String with a time to live: whom an operator has just asked to reload, so that no second one is asked."""
        return f"{{{self.prefix}}}:reload-turn:{turn}"

    @property
    def classifier(self) -> str:
        """Hash: `number` of the last choice of a classifier, and the choice as JSON."""
        return f"{{{self.prefix}}}:classifier"

    @property
    def marks(self) -> str:
        """Hash: replica → an operator's mark on it as JSON."""
        return f"{{{self.prefix}}}:marks"

    def trend(self, record: str) -> str:
        """Capped stream with a time to live: what was believed of an acceptance record, minute by minute."""
        return f"{{{self.prefix}}}:trend:{record}"

    @property
    def keys(self) -> str:
        """Hash: id of an API key → what is stored of it as JSON, its hash and never itself."""
        return f"{{{self.prefix}}}:keys"

    @property
    def key_state(self) -> str:
        """Hash: `changes` to API keys, counted, and the `secret` that tells this store from others."""
        return f"{{{self.prefix}}}:key-state"

    @property
    def policy(self) -> str:
        """Hash: `revision`, a counter of changes, and the `desk`, which policy is in force, as JSON."""
        return f"{{{self.prefix}}}:policy"

    @property
    def policy_versions(self) -> str:
        """Hash: number of a policy version → it as JSON."""
        return f"{{{self.prefix}}}:policy-versions"

    @property
    def policy_history(self) -> str:
        """Capped stream: who changed what of the policy, when and why."""
        return f"{{{self.prefix}}}:policy-history"

    def trial(self, run: str) -> str:
        """Hash with a time to live: router → its sums of a shadow or a canary."""
        return f"{{{self.prefix}}}:trial:{run}"

    def judge(self, run: str) -> str:
        """String with a time to live: the router that judges a canary."""
        return f"{{{self.prefix}}}:judge:{run}"

    @property
    def decisions(self) -> str:
        """Capped stream of decisions and how they went."""
        return f"{{{self.prefix}}}:decisions"

    def use(self, minute: int) -> str:
        """Hash with a time to live: router|key id → requests, tokens and running requests of that minute."""
        return f"{{{self.prefix}}}:use:{minute}"


@asynccontextmanager
async def or_store_error() -> AsyncIterator[None]:
    """What goes wrong with Redis, as StoreError."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise StoreError(f"{type(error).__name__}: {error}") from error


class RedisStore:
    """`router.state.store.Store` over Redis; `clock_s` replaces the server's clock in tests."""

    def __init__(
        self,
        redis: AsyncRedis,
        keys: Keys,
        clock_s: Callable[[], float] | None = None,
        together: Together | None = None,
    ) -> None:
        self._redis = redis
        self._together = together or Together(redis)
        self._keys = keys
        self._clock_s = clock_s
        scripts = resources.files("router.state")
        self._merge, self._restore, self._prune, self._emit = (
            redis.register_script(scripts.joinpath(f"{name}.lua").read_text())
            for name in ("merge", "restore", "prune", "emit")
        )

    async def position(self) -> Cursor:
        """See Store; Redis refuses the SET, though it would change nothing, where it takes no writes."""
        key = self._keys.generation
        async with or_store_error():
            _, generation, version = await self._together.ask(
                ("SET", key, new_generation(), "NX"), ("GET", key), ("GET", self._keys.version)
            )
        return Cursor(generation, int(version or 0))

    async def merge(self, deltas: Sequence[Delta], batch: str = "", generation: str = "") -> Sequence[int]:
        """See Store; a round trip per `AT_ONCE` deltas, each with a name of its own."""
        versions: list[int] = []
        for start in range(0, len(deltas), AT_ONCE):
            part = deltas[start : start + AT_ONCE]
            keys = [*self._heads, self._keys.batch(f"{batch}:{start}"), *(self._keys.record(d.key) for d in part)]
            now: str | float = "" if self._clock_s is None else self._clock_s()
            rows = orjson.dumps([_delta_row(delta) for delta in part])
            args = [generation, now, RECORD_EXPIRY_S, BATCH_EXPIRY_S if batch else 0, rows]
            async with or_store_error():
                last = await self._merge(keys=keys, args=args)
            if last < 0:
                raise LostError(f"Redis is no longer in generation {generation!r}")
            versions += range(last - len(part) + 1, last + 1)
        return versions

    async def changes(self, cursor: Cursor) -> Changes:
        """See Store; in steps of `AT_ONCE` records, between which requests are served."""
        now = await self.position()
        known = cursor.generation == now.generation and 0 < cursor.version <= now.version
        if known and cursor.version == now.version:
            return Changes(cursor=cursor)
        after = f"({cursor.version}" if known else "-inf"
        async with or_store_error(), self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self._keys.generation)
            pipe.zrange(self._keys.index, after, "+inf", byscore=True, withscores=True)
            generation, found = await pipe.execute()
        if generation != now.generation:  # an index that was lost looks as if every record had expired
            raise LostError(f"Redis is no longer in generation {now.generation!r}")
        records: dict[str, Record] = {}
        versions: dict[str, int] = {}
        for start in range(0, len(found), AT_ONCE):
            part = found[start : start + AT_ONCE]
            for (name, score), row in zip(part, await self._rows([name for name, _ in part], now), strict=True):
                if row:
                    records[name], versions[name] = _record(row), int(row.get("@v", score))
            await asyncio.sleep(0)
        newest = max([now.version, *(int(score) for _, score in found)])
        return Changes(records, versions, Cursor(now.generation, newest), complete=not known)

    async def restore(self, copies: Copies, generation: str) -> Restored:
        """See Store; a round trip per `AT_ONCE` records."""
        ours: set[str] = set()
        others: dict[str, Cursor] = {}
        names = list(copies.records)
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            rows = orjson.dumps([_copy_row(name, copies) for name in part])
            args = [generation, RECORD_EXPIRY_S, copies.name, copies.generation, rows]
            async with or_store_error():
                said = await self._restore(keys=[*self._heads, *map(self._keys.record, part)], args=args)
            if said is None:
                raise LostError(f"Redis is no longer in generation {generation!r}")
            ours |= {name for name, whose in zip(part, said, strict=True) if whose == "ours"}
            others |= {name: _place(whose) for name, whose in zip(part, said, strict=True) if " " in whose}
        return Restored(frozenset(ours), others)

    async def emit(self, events: Sequence[Event], batch: str = "") -> Sequence[Event]:
        """See Store; a round trip per `AT_ONCE` events."""
        batch, told = batch or uuid4().hex, list[Event]()
        for start in range(0, len(events), AT_ONCE):
            part = events[start : start + AT_ONCE]
            names = (f"{e.kind}:{e.once}" if e.once else f"{batch}:{start + i}" for i, e in enumerate(part))
            args = [batch, BATCH_EXPIRY_S, EVENTS_KEPT, orjson.dumps([_event_row(event) for event in part])]
            async with or_store_error():
                firsts = await self._emit(keys=[self._keys.events, *map(self._keys.told, names)], args=args)
            told += (event for event, first in zip(part, firsts, strict=True) if first)
        return told

    async def logged(self, count: int, before: str = "") -> Sequence[Logged]:
        """See Store; an entry that is no event of this version is left out."""
        async with or_store_error():
            rows = await self._redis.xrevrange(self._keys.events, f"({before}" if before else "+", "-", count=count)
        events = ((name, _event(row)) for name, row in rows)
        return [Logged(name, event) for name, event in events if event is not None]

    @property
    def _heads(self) -> list[str]:
        return [self._keys.generation, self._keys.version, self._keys.index]

    async def _rows(self, names: Sequence[str], now: Cursor) -> list[dict[str, str]]:
        """The records' fields; raises LostError where they were lost after their names had been read."""
        rows: list[dict[str, str]]
        async with or_store_error():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(self._keys.generation)
                for name in names:
                    pipe.hgetall(self._keys.record(name))
                generation, *rows = await pipe.execute()
            if generation != now.generation:
                raise LostError(f"Redis is no longer in generation {now.generation!r}")
            if gone := [name for name, row in zip(names, rows, strict=True) if not row]:
                await self._prune(keys=[self._keys.index, *map(self._keys.record, gone)], args=gone)
        return rows


def _event_row(event: Event) -> list[str]:
    return ["kind", event.kind, "subject", event.subject, "at_s", repr(event.at_s), "detail", event.detail]


def _event(row: dict[str, str]) -> Event | None:
    try:
        return Event(row["kind"], row["subject"], float(row["at_s"]), row["detail"])  # type: ignore[arg-type]
    except (KeyError, ValueError):
        return None


def _delta_row(delta: Delta) -> tuple[object, ...]:
    shrink = (delta.shrink.epoch, delta.shrink.scale) if delta.shrink else (-1, 1)
    formed = delta.shrink.epoch if delta.shrink else -1 if delta.epoch is None else delta.epoch
    add = {name: value for name, value in delta.add.items() if isfinite(value)}
    return (delta.key, delta.steps, delta.half_life_steps, delta.half_life_s, *shrink, formed, add)


def _copy_row(name: str, copies: Copies) -> tuple[object, ...]:
    record = copies.records[name]
    return (name, record.at_s, record.epoch, copies.versions.get(name, 0), dict(record.fields))


def _place(text: str) -> Cursor:
    generation, _, version = text.rpartition(" ")
    return Cursor(generation, int(version))


def _record(row: dict[str, str]) -> Record:
    fields = {name: float(value) for name, value in row.items() if not name.startswith("@")}
    return Record(fields, float(row.get("@t", 0)), int(row.get("@e", 0)))
