"""What routers share about keys, as a seam: the keys made while they run, and which store they are in."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from router.access.keys import Key

IDENTITY_BYTES = 32
"""Of the random name that a store gives itself: after it lost its data it is another store."""


@dataclass(frozen=True, slots=True)
class SharedKeys:
    """All keys at a version."""

    version: str
    keys: tuple[Key, ...]

    def follows(self, version: str) -> bool:
        """Whether the store is the one that said `version`, and has not lost its data since."""
        return self.version.partition("-")[0] == version.partition("-")[0]


def version_of(identity: bytes, changes: int) -> str:
    """A version: which store this is, and how often its keys have changed."""
    return f"{hashlib.sha256(identity).hexdigest()[:16]}-{changes}"


class KeyStore(Protocol):
    """Keys that routers share; every method may raise StoreError."""

    async def read(self, version: str) -> SharedKeys | None:
        """All keys, or None where they are still at this version; "" asks for them in any case."""

    async def put(self, key: Key, *, new: bool) -> bool:
        """Write a key; False, and nothing is written, where `new` and the id's being there do not agree."""

    async def remove(self, name: str) -> bool:
        """Take a key away; whether it was there."""

    async def restore(self, keys: Sequence[Key]) -> None:
        """Write back keys that the store has lost; those it has stay as they are."""


class MemoryKeyStore:
    """Keys inside one process, for tests and for a router that runs alone."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        self._changes = 0
        self._identity = secrets.token_bytes(IDENTITY_BYTES)

    async def read(self, version: str) -> SharedKeys | None:
        """See KeyStore."""
        now = version_of(self._identity, self._changes)
        return None if now == version else SharedKeys(now, tuple(self._keys.values()))

    async def put(self, key: Key, *, new: bool) -> bool:
        """See KeyStore."""
        if (key.id in self._keys) is new:
            return False
        self._keys[key.id] = key
        self._changes += 1
        return True

    async def remove(self, name: str) -> bool:
        """See KeyStore."""
        self._changes += 1
        return self._keys.pop(name, None) is not None

    async def restore(self, keys: Sequence[Key]) -> None:
        """See KeyStore."""
        self._keys = {**{key.id: key for key in keys}, **self._keys}
        self._changes += 1
