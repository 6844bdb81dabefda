"""What routers share about keys and their use, in Redis; its keys are named in `router.state.redis_store.Keys`."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from router.access.keys import Key
from router.access.quota import Use
from router.access.shared_keys import IDENTITY_BYTES, SharedKeys, version_of
from router.access.usage import Sheet
from router.state.redis_store import AsyncRedis, Keys, or_store_error

logger = logging.getLogger("alpharoute.keys")

USE_EXPIRY_S: Final = 180
"""A minute counts during the one after it; a little more for clocks that differ."""


class RedisKeyStore:
    """`router.shared_keys.KeyStore` over Redis."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def read(self, version: str) -> SharedKeys | None:
        """See KeyStore; a key that this version cannot read is left out, and said."""
        state = self._keys.key_state
        async with or_store_error():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hsetnx(state, "secret", secrets.token_hex(IDENTITY_BYTES))
                pipe.hmget(state, "secret", "changes")
                _, (identity, changes) = await pipe.execute()
            now = version_of(bytes.fromhex(identity), int(changes or 0))
            if now == version:
                return None
            rows = await self._redis.hgetall(self._keys.keys)
        found = (_key(name, text) for name, text in sorted(rows.items()))
        return SharedKeys(now, tuple(key for key in found if key is not None))

    async def put(self, key: Key, *, new: bool) -> bool:
        """See KeyStore."""
        async with or_store_error():
            text = key.model_dump_json(exclude_defaults=True)
            if new:
                written = bool(await self._redis.hsetnx(self._keys.keys, key.id, text))
            elif written := bool(await self._redis.hexists(self._keys.keys, key.id)):
                await self._redis.hset(self._keys.keys, key.id, text)
            if written:
                await self._redis.hincrby(self._keys.key_state, "changes", 1)
        return written

    async def remove(self, name: str) -> bool:
        """See KeyStore."""
        async with or_store_error(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(self._keys.keys, name)
            pipe.hincrby(self._keys.key_state, "changes", 1)
            gone, _ = await pipe.execute()
        return bool(gone)

    async def restore(self, keys: Sequence[Key]) -> None:
        """See KeyStore."""
        async with or_store_error(), self._redis.pipeline(transaction=True) as pipe:
            for key in keys:
                pipe.hsetnx(self._keys.keys, key.id, key.model_dump_json(exclude_defaults=True))
            pipe.hincrby(self._keys.key_state, "changes", 1)
            await pipe.execute()


def _key(name: str, text: str) -> Key | None:
    try:
        return Key.model_validate_json(text)
    except ValidationError:
        logger.warning("the key %r in Redis cannot be read and is left out", name[:64])
        return None


class RedisUsageStore:
    """`router.access.usage.UsageStore` over Redis: one hash a minute with a field for each router and key."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def exchange(self, router: str, mine: Mapping[int, Sheet]) -> Mapping[int, Mapping[str, Sheet]]:
        """See UsageStore; one round trip."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            for minute, sheet in mine.items():
                name = self._keys.use(minute)
                if sheet:
                    pipe.hset(name, mapping={f"{router}|{key}": _written(use) for key, use in sheet.items()})
                    pipe.expire(name, USE_EXPIRY_S)
            for minute in mine:
                pipe.hgetall(self._keys.use(minute))
            answers = await pipe.execute()
        return {minute: _by_router(row) for minute, row in zip(mine, answers[-len(mine) :], strict=True)}


def _written(use: Use) -> str:
    return f"{use.requests} {use.tokens} {use.running}"


def _by_router(row: Mapping[str, str]) -> dict[str, dict[str, Use]]:
    found: dict[str, dict[str, Use]] = {}
    for field, text in row.items():
        router, _, key = field.partition("|")
        requests, tokens, running = map(int, text.split())
        found.setdefault(router, {})[key] = Use(requests, tokens, running)
    return found
