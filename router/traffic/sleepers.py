"""Pools that sleep: which requests would have chosen them, and calling back those that are missed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from engines.pool import PoolSettings
from policies.demand import PoolDemand
from policies.knowledge import Knowledge
from policies.policy import POLICIES
from policies.request import Request
from router.observe.telemetry import Telemetry
from router.state.store import Clock
from router.traffic.fleet import Fleet

logger = logging.getLogger("alpharoute")

Call = Callable[[str], Awaitable[object]]

NEITHER = 0.75
"""A draw that neither explores nor holds out: a pool is to come back for what it is good at."""

APART = 2.0
"""What calls a pool back, over what sends it to sleep: between the two it stays as it is."""

CALL_LIMIT_S = 900.0
"""How long a call waits for a replica before it is given up, and made again when the pool is still missed."""

PAUSE_S = 5.0
"""After a call, before the next: it takes a moment until the routers hear of who came, and a refusal would be told
with every request."""


class Sleepers:
    """Decides each request once more as if sleeping pools were awake, and calls those that would have been chosen."""

    def __init__(
        self,
        pools: Sequence[PoolSettings],
        fleet: Fleet,
        telemetry: Telemetry,
        clock_s: Clock,
        call: Call | None = None,
        routers: int = 1,
    ) -> None:
        """`call` makes a pool's deployment have a replica and returns once it has; of `routers` each sees its share."""
        self._fleet = fleet
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._call = call
        self._demands = {
            pool.name: PoolDemand(APART * pool.autoscaling.idle_requests / routers, pool.autoscaling.up_delay_s)
            for pool in pools
            if call is not None and pool.autoscaling.idle_s is not None
        }
        self._models = {pool.name: pool.model for pool in pools if pool.name in self._demands}
        self._calls: dict[str, asyncio.Task[None]] = {}

    def heed(self, request: Request, knowledge: Knowledge) -> None:
        """Count the request for the sleeping pool that it would have chosen."""
        if not self._demands:
            return
        for pool, model in self._models.items():
            if model == request.model and not self._fleet.knows(pool):
                self._miss(pool, None)  # nobody is left who remembers what it was like: it must show it again
        asleep = self._fleet.asleep(request.model)
        if not asleep:
            return
        present = self._fleet.candidates(request.model)
        decide, now_s = POLICIES[knowledge.document.policy].decide, self._clock_s()
        choice = decide(request, [*present, *asleep], knowledge, now_s, NEITHER)
        if any(choice.engine is one for one in asleep):
            needed = not any(replica.state == "ready" for replica in present)
            self._miss(choice.pool, None if needed else choice.tpot_s * choice.expected_output_tokens)

    def _miss(self, pool: str, busy_s: float | None) -> None:
        """A request wants the pool for `busy_s` seconds; None: it cannot do without."""
        if pool in self._calls:
            return
        if busy_s is None or self._demands[pool].missed(busy_s, self._fleet.clock_s()):
            self._calls[pool] = asyncio.create_task(self._called(pool))

    async def _called(self, pool: str) -> None:
        logger.info("pool %s sleeps and is missed: called back", pool)
        self._telemetry.calls_back.labels(pool).inc()
        assert self._call is not None
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                await self._call(pool)
        except Exception as error:
            logger.warning("pool %s did not wake: %s: %s", pool, type(error).__name__, error)
        await asyncio.sleep(PAUSE_S)
        del self._calls[pool]

    async def stop(self) -> None:
        """Give up the calls that are still out."""
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
