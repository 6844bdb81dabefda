"""A real vLLM engine is reloaded through the Admin API while requests run: no client notices."""

import asyncio
import time
from collections import Counter

import aiohttp
import pytest
from deployed import Deployed

from engines.demo.workload import load_workload
from engines.registry import Heartbeat

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.ray, pytest.mark.timeout(1200)]

CLIENTS = 2
PAUSE_S = 0.5
"""Between a client's requests, so that the engine that starts has most of a core."""
RELOAD_LIMIT_S = 180.0
PROMPTS = [one.prompt for one in load_workload() if one.task == "sql_generation"]


class Clients:
    """Streams one after another through the router, and which pool gave them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.whole: Counter[str] = Counter()
        self._tasks = [asyncio.create_task(self._flow(i)) for i in range(CLIENTS)]

    async def until(self, pool: str, more: int) -> None:
        """Wait until a pool has given so many answers more; a client that ended has failed."""
        wanted, deadline = self.whole[pool] + more, time.monotonic() + RELOAD_LIMIT_S
        while self.whole[pool] < wanted:
            self.check()
            assert time.monotonic() < deadline, f"{pool} gives no answers: {self.whole}"
            await asyncio.sleep(0.05)

    def check(self) -> None:
        """Raise what a client ended with."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        """End them; answers that are under way are given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _flow(self, number: int) -> None:
        body = {"model": "demo", "max_tokens": 64, "temperature": 0, "stream": True}
        while True:  # a connection each: either router may answer
            prompt = PROMPTS[(sum(self.whole.values()) + number) % len(PROMPTS)]
            asked = {**body, "messages": [{"role": "user", "content": prompt}]}
            async with (
                aiohttp.ClientSession(self.url, headers={"x-alpharoute-task": "sql_generation"}) as session,
                session.post("/v1/chat/completions", json=asked) as answer,
            ):
                text = await answer.text()
                assert answer.status == 200, text
                assert text.endswith("data: [DONE]\n\n"), text[-300:]
                self.whole[answer.headers["x-alpharoute-pool"]] += 1
            await asyncio.sleep(PAUSE_S)


async def test_a_vllm_engine_is_reloaded_under_load_and_no_request_fails(vllm_service: Deployed) -> None:
    """Streams that run are finished, the other pool answers meanwhile, and another vLLM drafts for the same replica."""
    before = await _draft(vllm_service)
    clients = Clients(vllm_service.url)
    try:
        await clients.until("draft", 2)
        async with (
            aiohttp.ClientSession(vllm_service.url) as session,
            session.post(f"/admin/v1/engines/{before.replica}/reload", json={"why": "new weights"}) as answer,
        ):
            assert answer.status == 202, await answer.text()
        await clients.until("vanilla", 2)
        after = await _reloaded(vllm_service, before, clients)
        await clients.until("draft", 2)
    finally:
        await clients.stop()
    assert (after.replica, after.method, after.k_max) == (before.replica, before.method, before.k_max)
    assert after.url != before.url
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{before.url}/health")


async def _draft(service: Deployed) -> Heartbeat:
    (engine,) = [beat for beat in await service.heartbeats() if beat.pool == "draft"]
    return engine


async def _reloaded(service: Deployed, before: Heartbeat, clients: Clients) -> Heartbeat:
    """The replica's heartbeat once it serves again."""
    deadline = time.monotonic() + RELOAD_LIMIT_S
    while (now := await _draft(service)).state != "ready" or now.ready_since_s == before.ready_since_s:
        clients.check()
        assert time.monotonic() < deadline, f"the replica is {now.state}, {now.phase}"
        await asyncio.sleep(0.2)
    return now
