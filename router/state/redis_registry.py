"""The registry of engines in Redis."""

import asyncio
from importlib import resources

import orjson

from engines.registry import Heartbeat, HeartbeatReader
from router.state.redis_client import AsyncRedis
from router.state.redis_store import AT_ONCE, Keys, or_store_error
from router.state.together import Command, Together


class RedisRegistry:
    """`engines.registry.Registry` over Redis, of which replicas of other versions may be part too."""

    def __init__(self, redis: AsyncRedis, keys: Keys, together: Together | None = None) -> None:
        self._redis = redis
        self._together = together or Together(redis)
        self._keys = keys
        self._reader = HeartbeatReader()
        self._read: dict[str, Heartbeat | None] = {}
        """What was read last, by its text: engines announce themselves less often than routers look."""
        self._names: list[str] = []
        """Who was there last: they are asked for in the same round trip as who is there."""
        self._ask_reload = redis.register_script(resources.files(__package__).joinpath("ask_reload.lua").read_text())

    async def announce(self, heartbeat: Heartbeat, ttl_s: float) -> bool:
        """See Registry."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            pipe.set(self._keys.replica(heartbeat.replica), _dumps(heartbeat), px=_ms(ttl_s))
            pipe.sadd(self._keys.replicas, heartbeat.replica)
            pipe.getdel(self._keys.reload(heartbeat.replica))
            *_, asked = await pipe.execute()
        return asked is not None

    async def ask_reload(self, replica: str, turn: str, ttl_s: float) -> bool:
        """See Registry."""
        keys = [self._keys.reload(replica), *([self._keys.reload_turn(turn)] if turn else [])]
        async with or_store_error():
            return bool(await self._ask_reload(keys=keys, args=[replica, _ms(ttl_s)]))

    async def withdraw(self, replica: str) -> None:
        """See Registry."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(self._keys.replica(replica))
            pipe.srem(self._keys.replicas, replica)
            await pipe.execute()

    async def replicas(self) -> list[Heartbeat]:
        """See Registry."""
        async with or_store_error():
            texts = await self._texts()
            if gone := [name for name, text in texts.items() if text is None]:
                await self._redis.srem(self._keys.replicas, *gone)
        known, self._read = self._read, {}
        for number, text in enumerate(texts.values()):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)  # a thousand engines must not hold up a request for tens of milliseconds
            if text:
                self._read[text] = known[text] if text in known else self._reader.read(text)
        return [heartbeat for heartbeat in self._read.values() if heartbeat is not None]

    async def _texts(self) -> dict[str, str | None]:
        """The heartbeats by name: None where one has expired."""
        guessed = self._names
        beats: list[Command] = [("MGET", *map(self._keys.replica, guessed))] if guessed else []
        there, *read = await self._together.ask(("SMEMBERS", self._keys.replicas), *beats)
        names = self._names = sorted(there)
        if names != guessed:
            read = [await self._redis.mget([*map(self._keys.replica, names)])] if names else []
        return dict(zip(names, read[0], strict=True)) if read else {}


def _ms(duration_s: float) -> int:
    return max(1, int(duration_s * 1000))


def _dumps(heartbeat: Heartbeat) -> bytes:
    return orjson.dumps(heartbeat.model_dump(mode="json"))
