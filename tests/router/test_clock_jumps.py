"""The machine's clock is set while a router runs: what measures durations does not go by it."""

import asyncio
import time

from service import VANILLA, settings_with

from classifiers.label import Uninformed
from engines.registry import Heartbeat
from policies.task import TASKS
from router.errors import NotConnected
from router.service import running_ingress
from router.state.store import MemoryRegistry, MemoryStore


async def test_a_clock_set_back_an_hour_keeps_no_breaker_open() -> None:
    """The back-off is as long as it was, and so is the memory of the retry budget."""
    now_s = [time.time()]
    registry = MemoryRegistry(time.monotonic)
    beat = Heartbeat(replica="vanilla-1", pool="vanilla", model="demo", target="t", url="http://127.0.0.1:9")
    await registry.announce(beat, ttl_s=3600)
    settings = settings_with([VANILLA], resilience={"breaker_backoff_s": 0.02, "retry_floor": 1})
    async with running_ingress(
        settings, MemoryStore(), registry, Uninformed(TASKS), clock_s=lambda: now_s[0]
    ) as ingress:
        breaker, retries = ingress.fleet.endpoint("vanilla-1").breaker, ingress.dispatch.retries
        ingress.recorder.failed("vanilla", "vanilla-1", breaker, NotConnected("refused"))
        assert retries.again("vanilla", NotConnected("refused"), 1)
        now_s[0] -= 3600
        limit_s = time.monotonic() + 5
        while breaker.opened < 2:
            assert time.monotonic() < limit_s, "no probe was made"
            await asyncio.sleep(0.005)
        now_s[0] += 7200
        assert not retries.again("vanilla", NotConnected("refused"), 1)
