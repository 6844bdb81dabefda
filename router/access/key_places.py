"""Where `alpharoute keys` writes: the keys file, or Redis."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from router.access.key_file import changing, read_keys
from router.access.keys import Key
from router.access.redis_door import RedisKeyStore
from router.access.shared_keys import KeyStore
from router.config.auth import AuthSettings
from router.config.settings import EMBEDDED, RedisSettings
from router.errors import SetupError
from router.state.redis_client import connect_to
from router.state.redis_store import Keys
from router.state.store import StoreError


class NoSuchKey(Exception):
    """There is no key of this id, or there is one where a new one was to be made."""


class KeyPlace(Protocol):
    """A place that keeps keys; raises NoSuchKey, and SetupError where it cannot be used."""

    async def all(self) -> Sequence[Key]:
        """Every key."""

    async def add(self, key: Key) -> None:
        """A key of a new id."""

    async def change(self, name: str, how: Callable[[Key], Key]) -> Key:
        """Change one key; it as it is then."""

    async def remove(self, name: str) -> None:
        """Take one away."""


@dataclass(frozen=True, slots=True)
class InFile:
    """Keys in a file, read and written in a thread: it may hold many, and another writer may hold it."""

    file: Path

    async def all(self) -> Sequence[Key]:
        """See KeyPlace."""
        return await asyncio.to_thread(read_keys, self.file)

    async def add(self, key: Key) -> None:
        """See KeyPlace."""

        def added() -> None:
            with changing(self.file) as keys:
                if key.id in keys:
                    raise _taken(key.id)
                keys[key.id] = key

        await asyncio.to_thread(added)

    async def change(self, name: str, how: Callable[[Key], Key]) -> Key:
        """See KeyPlace."""

        def changed() -> Key:
            with changing(self.file) as keys:
                if name not in keys:
                    raise _missing(name)
                keys[name] = how(keys[name])
                return keys[name]

        return await asyncio.to_thread(changed)

    async def remove(self, name: str) -> None:
        """See KeyPlace."""

        def removed() -> None:
            with changing(self.file) as keys:
                if keys.pop(name, None) is None:
                    raise _missing(name)

        await asyncio.to_thread(removed)


@dataclass(frozen=True, slots=True)
class InStore:
    """Keys that routers share."""

    store: KeyStore

    async def all(self) -> Sequence[Key]:
        """See KeyPlace."""
        shared = await self.store.read("")
        return shared.keys if shared is not None else ()

    async def add(self, key: Key) -> None:
        """See KeyPlace."""
        if not await self.store.put(key, new=True):
            raise _taken(key.id)

    async def change(self, name: str, how: Callable[[Key], Key]) -> Key:
        """See KeyPlace."""
        found = next((key for key in await self.all() if key.id == name), None)
        if found is None or not await self.store.put(changed := how(found), new=False):
            raise _missing(name)
        return changed

    async def remove(self, name: str) -> None:
        """See KeyPlace."""
        if not await self.store.remove(name):
            raise _missing(name)


@contextlib.asynccontextmanager
async def place_of(
    auth: AuthSettings, redis: RedisSettings, file: Path | None, where: str | None
) -> AsyncIterator[KeyPlace]:
    """The place that the settings and the command's options name; SetupError where they name none, or two."""
    chosen = file or auth.keys_file
    if where is None and file is None and chosen is not None and auth.redis_keys:
        raise SetupError("Keys are kept in a file and in Redis: say which with --in file or --in redis.")
    if where == "redis" or (where is None and chosen is None and auth.redis_keys):
        async with _in_redis(redis) as place:
            yield place
    elif chosen is not None:
        yield InFile(chosen)
    else:
        raise SetupError(
            "There is no place for keys: set auth.keys_file (ALPHAROUTE_AUTH__KEYS_FILE), or auth.redis_keys: true "
            "(ALPHAROUTE_AUTH__REDIS_KEYS=true) with redis.url, or give --file."
        )


@contextlib.asynccontextmanager
async def _in_redis(redis: RedisSettings) -> AsyncIterator[KeyPlace]:
    if redis.url.get_secret_value() == EMBEDDED:
        raise SetupError("redis.url is 'embedded', which only `alpharoute serve` reaches: set it, or use --file.")
    connection = connect_to(redis)
    try:
        yield InStore(RedisKeyStore(connection, Keys(redis.prefix)))
    except StoreError as error:
        raise SetupError(f"Redis cannot be used: {error}") from None
    finally:
        await connection.aclose()


def _missing(name: str) -> NoSuchKey:
    return NoSuchKey(f"There is no key {name!r}; `alpharoute keys list` shows those there are.")


def _taken(name: str) -> NoSuchKey:
    return NoSuchKey(f"There is a key {name!r} already: rotate it, or revoke it first.")
