"""Acceptance over time in Redis: a hash for each minute, gone by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import orjson

from router.admin.trend import KEPT_S, Point
from router.state.redis_store import AT_ONCE, AsyncRedis, Keys, or_store_error

DIGITS = 4


class RedisTrend:
    """`router.admin.trend.TrendStore` over Redis; routers that write the same minute agree on the first."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def put(self, slot: int, points: Mapping[str, Point]) -> None:
        """See TrendStore."""
        name = self._keys.acceptance(slot)
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            for record, point in points.items():
                pipe.hsetnx(name, record, orjson.dumps([round(x, DIGITS) for x in astuple(point)]).decode())
            pipe.expire(name, KEPT_S)
            await pipe.execute()

    async def slots(self, wanted: Sequence[int]) -> Sequence[Mapping[str, Point]]:
        """See TrendStore; a round trip per `AT_ONCE` minutes, between which requests are served."""
        found: list[Mapping[str, Point]] = []
        for start in range(0, len(wanted), AT_ONCE):
            async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
                for slot in wanted[start : start + AT_ONCE]:
                    pipe.hgetall(self._keys.acceptance(slot))
                rows = await pipe.execute()
            found += ({record: Point(*orjson.loads(text)) for record, text in row.items()} for row in rows)
        return found
