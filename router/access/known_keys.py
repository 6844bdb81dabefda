"""The keys a router knows, from a file and from Redis, renewed in the background: no request waits for either."""

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from router.access.key_file import Stamp, read_keys, stamp_of
from router.access.keys import Key, Keyring
from router.access.shared_keys import KeyStore, SharedKeys
from router.config.auth import AuthSettings
from router.errors import SetupError
from router.state.store import Clock, StoreError

logger = logging.getLogger("alpharoute.keys")

LOG_EVERY_S = 60.0


class KnownKeys:
    """All keys there are; `ring` is replaced as a whole when any of them changes."""

    def __init__(self, settings: AuthSettings, store: KeyStore, clock_s: Clock) -> None:
        """Reads the file at once: raises SetupError where it is wrong, for then nobody could come in."""
        self._settings = settings
        self._store = store
        self._clock_s = clock_s
        self._stamp: Stamp | None = None
        self._in_file: tuple[Key, ...] = ()
        self._in_store: tuple[Key, ...] = ()
        self._version = ""
        self._quiet_until_s = 0.0
        self.ring = Keyring()
        if settings.keys_file is not None:
            self._stamp = stamp_of(settings.keys_file)
            self._in_file = read_keys(settings.keys_file)
            self._renew()

    @property
    def complete(self) -> bool:
        """Whether every place where keys are kept was read once: before that, an unknown key may be a good one."""
        return bool(self._version) or not self._settings.redis_keys

    async def run(self) -> None:
        """Look for changes until cancelled."""
        task = asyncio.current_task()
        while task is not None and not task.cancelling():
            await self.refresh()
            await asyncio.sleep(self._settings.refresh_s)

    async def refresh(self) -> None:
        """One look at both places; what is wrong there is said, and the keys known before stay."""
        if (file := self._settings.keys_file) is not None:
            await self._read_file(file)
        try:
            shared = await self._store.read(self._version)
            if shared is not None:
                await self._take(shared)
        except StoreError as error:
            self._say(f"Redis is away, going on with the keys that are known: {error}")
        except Exception as error:
            self._say(f"The keys in Redis cannot be read: {type(error).__name__}")

    async def _read_file(self, file: Path) -> None:
        stamp = stamp_of(file)
        if stamp == self._stamp:
            return
        try:
            self._in_file = await asyncio.to_thread(read_keys, file)
        except SetupError as error:
            self._say(f"The keys known before stay. {error}")
            return
        self._stamp = stamp
        self._renew()
        logger.info("the keys file changed: %d keys", len(self._in_file))

    async def _take(self, shared: SharedKeys) -> None:
        if self._version and not shared.follows(self._version) and self._in_store:
            # Redis lost its data: keys must not be gone because of that. Revoking one says so by a new version.
            await self._store.restore(self._in_store)
            logger.warning("Redis had lost its keys: %d were written back", len(self._in_store))
            shared = await self._store.read("") or shared
        if self._settings.redis_keys:
            self._in_store = shared.keys
        self._version = shared.version
        self._renew()

    def _renew(self) -> None:
        self.ring = Keyring(self._without_doubles([*self._in_store, *self._in_file]))

    def _without_doubles(self, keys: Iterable[Key]) -> Iterable[Key]:
        by_id: dict[str, Key] = {}
        for key in keys:
            if key.id in by_id:
                self._say(f"The key {key.id!r} is in the keys file and in Redis: the file's is taken.")
            by_id[key.id] = key
        return by_id.values()

    def _say(self, why: str) -> None:
        if time.monotonic() >= self._quiet_until_s:
            self._quiet_until_s = time.monotonic() + LOG_EVERY_S
            logger.warning("%s", why)
