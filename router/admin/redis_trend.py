"""Acceptance over time in Redis: a capped stream for each record, gone by itself when nothing is added."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import astuple

import orjson

from router.admin.trend import KEPT_S, SLOT_S, Point, thinned
from router.state.redis_store import AsyncRedis, Keys, or_store_error

DIGITS = 4
MS = 1000
RECORDS_AT_ONCE = 2


class RedisTrend:
    """`router.admin.trend.TrendStore` over Redis; the minute is the entry's id, which a stream takes only once."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def put(self, slot: int, points: Mapping[str, Point]) -> None:
        """See TrendStore."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            for record, point in points.items():
                name, text = self._keys.trend(record), orjson.dumps([round(x, DIGITS) for x in astuple(point)])
                pipe.xadd(name, {"p": text}, id=f"{slot * SLOT_S * MS}-1", maxlen=KEPT_S // SLOT_S, approximate=True)
                pipe.expire(name, KEPT_S)
            # Where another router was first Redis refuses the same id again, and that is the point of it.
            await pipe.execute(raise_on_error=False)

    async def points(self, records: Sequence[str], first: int, most: int) -> Mapping[str, Sequence[Point]]:
        """See TrendStore; a round trip per `RECORDS_AT_ONCE`, and requests are served between any two records."""
        found: dict[str, Sequence[Point]] = {}
        for start in range(0, len(records), RECORDS_AT_ONCE):
            part = records[start : start + RECORDS_AT_ONCE]
            async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
                for record in part:
                    pipe.xrange(self._keys.trend(record), f"{first * SLOT_S * MS}-0")
                rows = await pipe.execute()
            for record, entries in zip(part, rows, strict=True):
                if entries:
                    found[record] = [Point(*orjson.loads(fields["p"])) for _, fields in thinned(entries, most)]
                await asyncio.sleep(0)
        return found
