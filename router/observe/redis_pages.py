"""The board of metrics pages over Redis."""

from collections.abc import Mapping

import orjson

from router.observe.pages import Posted
from router.state.redis_store import AsyncRedis, Keys, or_store_error

EXPIRY_S = 120


class RedisBoard:
    """`router.observe.pages.Board`: a hash with a field per router; routers that are gone fall out of it in time."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.pages

    async def post(self, router: str, posted: Posted) -> None:
        """See Board."""
        text = orjson.dumps([posted.at_s, posted.page]).decode()
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(self._key, router, text)
            pipe.expire(self._key, EXPIRY_S)
            await pipe.execute()

    async def posted(self) -> Mapping[str, Posted]:
        """See Board."""
        async with or_store_error():
            texts = await self._redis.hgetall(self._key)
        found = {router: Posted(*orjson.loads(text)) for router, text in texts.items()}
        newest_s = max((one.at_s for one in found.values()), default=0.0)
        gone = [router for router, one in found.items() if newest_s - one.at_s > EXPIRY_S]
        if gone:
            async with or_store_error():
                await self._redis.hdel(self._key, *gone)
        return {router: one for router, one in found.items() if router not in gone}
