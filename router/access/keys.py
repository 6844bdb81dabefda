"""API keys: what is stored of one, how one is made, and which of those known a client has presented.

A key is 256 random bits, and what is stored is its SHA-256. Slow hashes (argon2, bcrypt) exist for passwords, which
can be guessed; nobody can try 2^256 keys however fast one try is, and a slow hash would cost every request
milliseconds. That holds for keys made here only: a short one that someone chose is refused, when it is stored and
when it is presented.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from engines.pool import Part
from router.roles import Role

PREFIX = "ar-"
RANDOM_BYTES = 32
SHORTEST_KEY = 40
"""Characters: 32 random bytes in base64 are 43. What is shorter is never looked up, whatever hashes are stored."""

LONGEST_KEY = 256
FEWEST_DIFFERENT = 16
"""Different characters in a key: 43 random ones have about 31, and fewer than 16 less than once in 10^12."""

Hash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")]


class KeyLimits(Part):
    """What a key may use; unset is unlimited."""

    requests_per_minute: int | None = Field(default=None, ge=1, description="Requests in any minute.")
    tokens_per_minute: int | None = Field(default=None, ge=1, description="Prompt and output tokens in any minute.")
    concurrent: int | None = Field(default=None, ge=1, description="Requests being answered at a time.")


class Former(Part):
    """The key before a rotation, which is taken for a while."""

    hash: Hash
    until: AwareDatetime


class Key(Part):
    """What is stored of a key."""

    id: Name = Field(description="Its name: in listings, and in what is counted against its limits.")
    hash: Hash = Field(description="sha256: and the hex digest of the key.")
    role: Role = Field(default=Role.CLIENT, description="client, operator or admin.")
    segments: tuple[str, ...] = Field(
        default=(), description="Segments it may name, the first being its own; none: those of limits.segments."
    )
    limits: KeyLimits = KeyLimits()
    expires: AwareDatetime | None = Field(default=None, description="When it ends, with a time zone.")
    former: Former | None = Field(default=None, description="The key before a rotation.")

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        limits = self.limits
        return bool(limits.requests_per_minute or limits.tokens_per_minute or limits.concurrent)

    def expired(self, now_s: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now_s >= self.expires.timestamp()


class WeakKey(ValueError):
    """A key that can be guessed; the message says what would do."""


def new_key() -> str:
    """A fresh key: `ar-` and 256 random bits."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def hash_of(key: str) -> str:
    """What is stored of a key."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def check_strength(key: str) -> None:
    """Raise WeakKey for a key that someone made up: SHA-256 protects only what cannot be guessed."""
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY or len(set(key)) < FEWEST_DIFFERENT:
        raise WeakKey(
            f"The key is too easy to guess: it must have {SHORTEST_KEY} to {LONGEST_KEY} characters, "
            f"{FEWEST_DIFFERENT} of them different. Let `alpharoute keys create` make one."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise WeakKey("The key must be printable ASCII without spaces, as it travels in a header.")


def rotated(key: Key, fresh: str, until: datetime | None) -> Key:
    """The same key with a new secret; the former one is taken until then."""
    former = None if until is None else Former(hash=key.hash, until=until)
    return key.model_copy(update={"hash": hash_of(fresh), "former": former})


class Keyring:
    """The keys known now, found by the hash of what a client presents."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_id: dict[str, Key] = {key.id: key for key in keys}
        current = {key.hash: key for key in self._by_id.values()}
        formers = {key.former.hash: key for key in self._by_id.values() if key.former is not None}
        self._by_hash: Mapping[str, Key] = {**formers, **current}

    def __len__(self) -> int:
        return len(self._by_id)

    def named(self, name: str) -> Key | None:
        """The key of this id."""
        return self._by_id.get(name)

    def find(self, presented: str, now_s: float) -> Key | None:
        """The key whose secret this is, None where there is none or its time is over.

        The time it takes tells nothing: the table is searched by a digest that the client cannot steer, and the
        digests are compared in constant time.
        """
        if not SHORTEST_KEY <= len(presented) <= LONGEST_KEY:
            return None
        digest = hash_of(presented)
        key = self._by_hash.get(digest)
        if key is None or key.expired(now_s):
            return None
        if hmac.compare_digest(key.hash, digest):
            return key
        former = key.former
        if former is None or now_s >= former.until.timestamp() or not hmac.compare_digest(former.hash, digest):
            return None
        return key
