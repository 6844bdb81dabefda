"""Marks of engine replicas in Redis."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import orjson

from router.state.marks import Mark
from router.state.redis_store import AsyncRedis, Keys, or_store_error
from router.state.together import Together

logger = logging.getLogger("alpharoute.marks")

COUNT: Final = "@changes"
"""A field beside the marks that stays when the last is taken away: a hash without it was lost, not emptied."""


class RedisMarks:
    """`router.state.marks.Marks` over one hash; what Redis lost is given back from this router's copy."""

    def __init__(self, redis: AsyncRedis, keys: Keys, together: Together | None = None) -> None:
        self._redis = redis
        self._together = together or Together(redis)
        self._key = keys.marks
        self._held: Mapping[str, Mark] = {}

    async def all(self) -> Mapping[str, Mark]:
        """See Marks."""
        async with or_store_error():
            (rows,) = await self._together.ask(("HGETALL", self._key))
            if COUNT not in rows and self._held:
                rows = await self._give_back()
        self._held = {name: mark for name, text in rows.items() if (mark := _mark(name, text)) is not None}
        return self._held

    async def put(self, replica: str, mark: Mark) -> None:
        """See Marks."""
        async with or_store_error(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(self._key, COUNT, 1)
            pipe.hset(self._key, replica, orjson.dumps(asdict(mark)).decode())
            await pipe.execute()

    async def remove(self, replica: str) -> bool:
        """See Marks."""
        async with or_store_error(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(self._key, COUNT, 1)
            pipe.hdel(self._key, replica)
            _, gone = await pipe.execute()
        return bool(gone)

    async def _give_back(self) -> dict[str, str]:
        logger.warning("Redis had lost its data: the marks of %d engines were given back", len(self._held))
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(self._key, COUNT, 1)
            for name, mark in self._held.items():
                pipe.hsetnx(self._key, name, orjson.dumps(asdict(mark)).decode())
            pipe.hgetall(self._key)
            rows: dict[str, str] = (await pipe.execute())[-1]
        return rows


def _mark(name: str, text: str) -> Mark | None:
    if name == COUNT:
        return None
    try:
        return Mark(**orjson.loads(text))
    except (TypeError, ValueError):
        logger.debug("the mark of %r is another version's", name[:64])
        return None
