"""API keys over HTTP: listed without what is secret, made, rotated and revoked where they are kept."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, Field

from router.access.key_places import InFile, InStore, KeyPlace, NoSuchKey
from router.access.keys import Key, KeyLimits, Name, hash_of, new_key, rotated
from router.access.shared_keys import KeyStore
from router.admin.errors import Conflict
from router.admin.routes import PREFIX, AnyRoute, Asked, Nothing, Said, Taken, changing, reading
from router.config.auth import AuthSettings
from router.config.settings import Settings
from router.errors import NotFound, SetupError
from router.roles import Role
from router.state.store import Clock

Where = Literal["file", "redis"]
DAY_S = 24 * 3600


class NewKey(Taken):
    """A key to make."""

    id: Name
    """Its name."""
    role: Role = Role.CLIENT
    """What it may do."""
    segments: tuple[str, ...] = ()
    """Segments it may name; none: all."""
    limits: KeyLimits = KeyLimits()
    """What it may use."""
    expires: AwareDatetime | None = None
    """When it ends, with a time zone: 2027-01-31T00:00:00Z."""


class Rotation(Taken):
    """How a key gets a new secret."""

    overlap_s: float = Field(default=DAY_S, ge=0, le=365 * DAY_S)
    """For how long the former one is taken too."""


@dataclass(frozen=True, slots=True)
class KeyView:
    """What may be told of a key: neither itself nor its hash."""

    id: str
    kept_in: Where
    role: Role
    segments: tuple[str, ...]
    limits: KeyLimits
    expires: datetime | None
    former_until: datetime | None


@dataclass(frozen=True, slots=True)
class FreshKey(KeyView):
    """A key with its secret, which is told this once."""

    key: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key."""

    keys: list[KeyView]


@dataclass(frozen=True, slots=True)
class KeyRoutes:
    """Who may come in. Keys are made in Redis where `auth.redis_keys` is set, else in the file."""

    settings: Settings
    store: KeyStore
    clock_s: Clock

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [
            reading("/keys", Keys, self.all, Nothing, 409),
            changing("POST", "/keys", FreshKey, self.make, NewKey, 409, status=201),
            changing("POST", "/keys/{id}/rotate", FreshKey, self.rotate, Rotation, 409),
            changing("DELETE", "/keys/{id}", None, self.revoke, Nothing, 409, status=204),
        ]

    async def all(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Every key, never its secret."""
        return Said(Keys([_view(where, key) for where, place in self._places() for key in await _read(place)]))

    async def make(self, asked: Asked[Nothing, NewKey]) -> Said:
        """Make a key; its secret is in this answer and nowhere else."""
        body, secret = asked.body, new_key()
        self._check_segments(body.segments)
        if body.expires is not None and body.expires.timestamp() <= self.clock_s():
            message = f"expires: {body.expires.isoformat()} is past: the key would be of no use."
            raise Conflict(message, param="expires", code="expired_key")
        if await self._holding(body.id) is not None:
            raise _taken(body.id)
        where, place = self._places()[-1]
        key = Key(
            id=body.id,
            hash=hash_of(secret),
            role=body.role,
            segments=body.segments,
            limits=body.limits,
            expires=body.expires,
        )
        try:
            await place.add(key)
        except NoSuchKey:
            raise _taken(body.id) from None
        except SetupError as error:
            raise _not_writable(error) from None
        return Said(_fresh(where, key, secret), {"location": f"{PREFIX}/keys/{key.id}"})

    async def rotate(self, asked: Asked[Nothing, Rotation]) -> Said:
        """Give a key a new secret, told in this answer and nowhere else; the former one holds on for a while."""
        name, secret = asked.place["id"], new_key()
        until = datetime.fromtimestamp(int(self.clock_s()), UTC) + timedelta(seconds=asked.body.overlap_s)
        where, place = await self._place_of(name)
        try:
            key = await place.change(name, lambda old: rotated(old, secret, until if asked.body.overlap_s else None))
        except NoSuchKey:
            raise _missing(name) from None
        except SetupError as error:
            raise _not_writable(error) from None
        return Said(_fresh(where, key, secret))

    async def revoke(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Take a key away; routers refuse it within auth.refresh_s."""
        name = asked.place["id"]
        _, place = await self._place_of(name)
        if name == asked.who:
            raise Conflict("This is the key you ask with: revoke it with another.", param="id", code="own_key")
        try:
            await place.remove(name)
        except NoSuchKey:
            raise _missing(name) from None
        except SetupError as error:
            raise _not_writable(error) from None
        return Said(None)

    def _places(self) -> list[tuple[Where, KeyPlace]]:
        auth: AuthSettings = self.settings.auth
        places: list[tuple[Where, KeyPlace]] = []
        if auth.keys_file is not None:
            places.append(("file", InFile(auth.keys_file)))
        if auth.redis_keys:
            places.append(("redis", InStore(self.store)))
        if not places:
            message = "There is no place for keys: set auth.redis_keys or auth.keys_file and start again."
            raise Conflict(message, code="no_keys")
        return places

    async def _holding(self, name: str) -> tuple[Where, KeyPlace] | None:
        for where, place in self._places():
            if any(key.id == name for key in await _read(place)):
                return where, place
        return None

    async def _place_of(self, name: str) -> tuple[Where, KeyPlace]:
        found = await self._holding(name)
        if found is None:
            raise _missing(name)
        return found

    def _check_segments(self, segments: tuple[str, ...]) -> None:
        known = self.settings.limits.segments
        if unknown := [segment for segment in segments if segment not in known]:
            message = f"segments: {unknown[0][:64]!r} is not in limits.segments: {', '.join(sorted(known))}."
            raise Conflict(message, param="segments", code="unknown_segment")


async def _read(place: KeyPlace) -> list[Key]:
    try:
        return list(await place.all())
    except SetupError as error:
        raise _not_writable(error) from None


def _view(where: Where, key: Key) -> KeyView:
    return KeyView(
        key.id, where, key.role, key.segments, key.limits, key.expires, key.former.until if key.former else None
    )


def _fresh(where: Where, key: Key, secret: str) -> FreshKey:
    seen = _view(where, key)
    return FreshKey(seen.id, where, seen.role, seen.segments, seen.limits, seen.expires, seen.former_until, key=secret)


def _missing(name: str) -> NotFound:
    return NotFound(f"There is no key {name[:64]!r}; GET {PREFIX}/keys lists them.", param="id", code="unknown_key")


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a key {name!r} already: rotate it, or revoke it first.", param="id", code="key_exists")


def _not_writable(error: SetupError) -> Conflict:
    """A file that is mounted, such as a Kubernetes secret, is changed where it comes from."""
    return Conflict(f"The keys cannot be changed here: {error}", code="keys_not_writable")
