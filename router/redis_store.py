"""State in Redis: every key, the records, the events and the registry; the only file that imports redis."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from engines.registry import Heartbeat, HeartbeatReader
from policies.records import Delta, Record
from policies.words import Event
from router.store import Changes, StoreError

RECORD_EXPIRY_S: Final = 14 * 24 * 3600
"""A record nobody adds to for two weeks is gone: tasks and segments that no longer exist must not pile up."""

BATCH_EXPIRY_S: Final = 3600
"""How long a batch whose answer was lost may be sent again without counting twice."""

EVENTS_KEPT: Final = 10_000

# redis-py's types leave out which of its commands are awaited.
AsyncRedis = Any


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key; the braces keep them in one slot of a Redis Cluster, so that a script may touch several."""

    prefix: str = "alpharoute"

    def record(self, name: str) -> str:
        """Hash: the fields of one record, with @t (time) and @e (epoch)."""
        return f"{{{self.prefix}}}:record:{name}"

    @property
    def index(self) -> str:
        """Sorted set: record name → version of its last change."""
        return f"{{{self.prefix}}}:records"

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

    @property
    def keys(self) -> str:
        """Hash: id of an API key → what is stored of it as JSON, its hash and never itself."""
        return f"{{{self.prefix}}}:keys"

    @property
    def key_state(self) -> str:
        """Hash: `changes` to API keys, counted, and the `secret` that signs the console's cookies."""
        return f"{{{self.prefix}}}:key-state"

    def use(self, minute: int) -> str:
        """Hash with a time to live: router|key id → requests, tokens and running requests of that minute."""
        return f"{{{self.prefix}}}:use:{minute}"


def connect(url: str, *, timeout_s: float) -> AsyncRedis:
    """A client for a redis://, rediss:// or unix:// URL; it connects when first used and gives up after `timeout_s`.

    It does not try again by itself: callers do, and a merge that was sent twice would count twice.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),
    )


@asynccontextmanager
async def or_store_error() -> AsyncIterator[None]:
    """What goes wrong with Redis, as StoreError."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreError(f"{type(error).__name__}: {error}") from error


class RedisStore:
    """`router.store.Store` over Redis; `clock_s` replaces the server's clock in tests."""

    def __init__(self, redis: AsyncRedis, keys: Keys, clock_s: Callable[[], float] | None = None) -> None:
        self._redis = redis
        self._keys = keys
        self._clock_s = clock_s
        scripts = resources.files("router")
        self._merge = redis.register_script(scripts.joinpath("merge.lua").read_text())
        self._restore = redis.register_script(scripts.joinpath("restore.lua").read_text())

    async def merge(self, deltas: Sequence[Delta], batch: str = "") -> None:
        """See Store; one round trip however many deltas."""
        written = self._keys.batch(batch)
        async with or_store_error(), self._redis.pipeline(transaction=True) as pipe:
            for delta in deltas:
                keys = [*self._keys_of(delta.key), written]
                await self._merge(keys=keys, args=self._arguments(delta), client=pipe)
            if batch:
                pipe.set(written, 1, ex=BATCH_EXPIRY_S)
            await pipe.execute()

    async def changes(self, cursor: int) -> Changes:
        """See Store; a cursor ahead of the store's (it was wiped) asks for everything."""
        async with or_store_error():
            version = int(await self._redis.get(self._keys.version) or 0)
            if version == cursor:
                return Changes(cursor=cursor)
            after = f"({cursor}" if cursor <= version else "-inf"
            found = await self._redis.zrange(self._keys.index, after, "+inf", byscore=True, withscores=True)
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, _ in found:
                    pipe.hgetall(self._keys.record(name))
                rows = await pipe.execute()
        names = [name for name, _ in found]
        newest = max((int(score) for _, score in found), default=version)
        return Changes({name: _record(row) for name, row in zip(names, rows, strict=True) if row}, newest)

    async def restore(self, records: Mapping[str, Record]) -> frozenset[str]:
        """See Store; one round trip, each record atomically."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            for name, record in records.items():
                fields = [part for item in record.fields.items() for part in item]
                args = [name, RECORD_EXPIRY_S, "@t", record.at_s, "@e", record.epoch, *fields]
                await self._restore(keys=self._keys_of(name), args=args, client=pipe)
            written = await pipe.execute()
        return frozenset(name for name, is_new in zip(records, written, strict=True) if is_new)

    async def emit(self, events: Sequence[Event]) -> None:
        """See Store."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.xadd(self._keys.events, asdict(event), maxlen=EVENTS_KEPT, approximate=True)
            await pipe.execute()

    def _keys_of(self, name: str) -> list[str]:
        return [self._keys.record(name), self._keys.index, self._keys.version]

    def _arguments(self, delta: Delta) -> list[str | float | int]:
        now: str | float = "" if self._clock_s is None else self._clock_s()
        shrink = delta.shrink
        head: list[str | float | int] = [delta.key, now, RECORD_EXPIRY_S]
        head += [delta.steps, delta.half_life_steps, delta.half_life_s]
        head += [shrink.epoch, shrink.scale] if shrink else ["", ""]
        return head + [part for item in delta.add.items() for part in item]


def _record(row: dict[str, str]) -> Record:
    fields = {name: float(value) for name, value in row.items() if not name.startswith("@")}
    return Record(fields, float(row.get("@t", 0)), int(row.get("@e", 0)))


class RedisRegistry:
    """`engines.registry.Registry` over Redis, of which replicas of other versions may be part too."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._reader = HeartbeatReader()

    async def announce(self, heartbeat: Heartbeat, ttl_s: float) -> None:
        """See Registry."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            pipe.set(self._keys.replica(heartbeat.replica), _dumps(heartbeat), px=max(1, int(ttl_s * 1000)))
            pipe.sadd(self._keys.replicas, heartbeat.replica)
            await pipe.execute()

    async def withdraw(self, replica: str) -> None:
        """See Registry."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(self._keys.replica(replica))
            pipe.srem(self._keys.replicas, replica)
            await pipe.execute()

    async def replicas(self) -> list[Heartbeat]:
        """See Registry."""
        async with or_store_error():
            names = sorted(await self._redis.smembers(self._keys.replicas))
            if not names:
                return []
            texts = await self._redis.mget([self._keys.replica(name) for name in names])
            gone = [name for name, text in zip(names, texts, strict=True) if text is None]
            if gone:
                await self._redis.srem(self._keys.replicas, *gone)
        heartbeats = (self._reader.read(text) for text in texts if text is not None)
        return [heartbeat for heartbeat in heartbeats if heartbeat is not None]


def _dumps(heartbeat: Heartbeat) -> bytes:
    return orjson.dumps(heartbeat.model_dump(mode="json"))
