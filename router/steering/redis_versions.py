"""Versions in Redis; the keys are named in `router.state.redis_store.Keys`."""

import logging
from collections.abc import Collection, Mapping, Sequence
from importlib import resources

import orjson
from pydantic import TypeAdapter, ValidationError

from router.state.redis_store import AsyncRedis, Keys, or_store_error
from router.steering.store import HISTORY_KEPT
from router.steering.versions import Commit, Desk, Entry, Version

logger = logging.getLogger("alpharoute.steering")

_DESK, _VERSION, _ENTRY = TypeAdapter(Desk), TypeAdapter(Version), TypeAdapter(Entry)


class RedisVersionStore:
    """`router.steering.store.VersionStore` over Redis."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._commit = redis.register_script(resources.files(__package__).joinpath("commit.lua").read_text())

    async def desk(self) -> Desk:
        """See VersionStore; one round trip of a few hundred bytes."""
        async with or_store_error():
            text = await self._redis.hget(self._keys.policy, "desk")
        return Desk() if text is None else _DESK.validate_json(text)

    async def versions(self, ids: Collection[int] | None = None) -> Mapping[int, Version]:
        """See VersionStore."""
        async with or_store_error():
            if ids is None:
                texts = list((await self._redis.hgetall(self._keys.policy_versions)).values())
            else:
                texts = await self._redis.hmget(self._keys.policy_versions, [str(one) for one in ids]) if ids else []
        found = [_version(text) for text in texts if text is not None]
        return {version.id: version for version in found if version is not None}

    async def commit(self, commit: Commit) -> bool:
        """See VersionStore; one Lua script."""
        put = [part for version in commit.put for part in (version.id, orjson.dumps(version))]
        keys = [self._keys.policy, self._keys.policy_versions, self._keys.policy_history]
        args = [
            commit.expected,
            commit.desk.revision,
            orjson.dumps(commit.desk),
            orjson.dumps(commit.entry),
            HISTORY_KEPT,
            len(commit.put),
            *put,
            *commit.remove,
        ]
        async with or_store_error():
            return bool(await self._commit(keys=keys, args=args))

    async def history(self, last: int) -> Sequence[Entry]:
        """See VersionStore."""
        async with or_store_error():
            rows = await self._redis.xrevrange(self._keys.policy_history, count=last)
        found = [_entry(fields.get("entry", "")) for _, fields in rows]
        return [entry for entry in found if entry is not None]


def _entry(text: str) -> Entry | None:
    try:
        return _ENTRY.validate_json(text)
    except ValidationError:
        logger.warning("a line of the audit trail cannot be read and is left out: %r", text[:64])
        return None


def _version(text: str) -> Version | None:
    try:
        return _VERSION.validate_json(text)
    except ValidationError:
        logger.warning("a policy version in Redis cannot be read and is left out: %r", text[:64])
        return None
