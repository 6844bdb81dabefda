"""Where routers put their sheets of a trial together, as a seam; in memory and in Redis."""

from collections.abc import Mapping
from typing import Final, Protocol

from router.state.redis_store import AsyncRedis, Keys, or_store_error
from router.state.store import Clock

KEPT_S: Final = 24 * 3600
"""How long the sums of a trial are kept after its last request."""


class TrialStore(Protocol):
    """Sheets by trial and router; every method may raise StoreError."""

    async def put(self, run: str, router: str, sheet: bytes) -> None:
        """Replace a router's sheet: what is sent twice counts once."""

    async def sheets(self, run: str) -> Mapping[str, str]:
        """Every router's sheet."""

    async def judges(self, run: str, router: str, for_s: float) -> bool:
        """Whether this router is the one that judges for now; it stays so as long as it asks in time."""


class MemoryTrialStore:
    """Sheets inside one process, for tests and for a router that runs alone."""

    def __init__(self, clock_s: Clock) -> None:
        self._clock_s = clock_s
        self._sheets: dict[str, dict[str, str]] = {}
        self._judges: dict[str, tuple[str, float]] = {}

    async def put(self, run: str, router: str, sheet: bytes) -> None:
        """See TrialStore."""
        self._sheets.setdefault(run, {})[router] = sheet.decode()

    async def sheets(self, run: str) -> Mapping[str, str]:
        """See TrialStore."""
        return dict(self._sheets.get(run, {}))

    async def judges(self, run: str, router: str, for_s: float) -> bool:
        """See TrialStore."""
        holder, until_s = self._judges.get(run, (router, 0.0))
        now_s = self._clock_s()
        if holder != router and until_s > now_s:
            return False
        self._judges[run] = router, now_s + for_s
        return True


class RedisTrialStore:
    """`TrialStore` over Redis: a hash for each trial."""

    def __init__(self, redis: AsyncRedis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def put(self, run: str, router: str, sheet: bytes) -> None:
        """See TrialStore."""
        async with or_store_error(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(self._keys.trial(run), router, sheet)
            pipe.expire(self._keys.trial(run), KEPT_S)
            await pipe.execute()

    async def sheets(self, run: str) -> Mapping[str, str]:
        """See TrialStore."""
        async with or_store_error():
            found: dict[str, str] = await self._redis.hgetall(self._keys.trial(run))
        return found

    async def judges(self, run: str, router: str, for_s: float) -> bool:
        """See TrialStore."""
        key, for_ms = self._keys.judge(run), max(1, int(for_s * 1000))
        async with or_store_error():
            if await self._redis.set(key, router, nx=True, px=for_ms):
                return True
            if await self._redis.get(key) != router:
                return False
            await self._redis.pexpire(key, for_ms)
        return True
