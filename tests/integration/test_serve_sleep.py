"""A speculative pool that nobody wants ends its last replica, and comes back when it is missed."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import yaml
from deployed import Deployed, deployed

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(400)]

POOLS = [
    {"name": "vanilla", "engine": "simulator", "cpus": 0.1},
    {
        "name": "draft",
        "engine": "simulator",
        "cpus": 0.1,
        "drafter": "demo",
        "method": "draft_model",
        "k_max": 4,
        "autoscaling": {"idle_s": 1, "up_delay_s": 0, "idle_requests": 0},
    },
]
SOONER = {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1", "ALPHAROUTE_ROUTER__REPLICAS": "2"}
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "[task:sql_generation] hello"}], "max_tokens": 24}


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[Deployed]:
    """Two routers, a simulator in a pool that stays and one in a pool that may sleep."""
    config = tmp_path / "alpharoute.yaml"
    config.write_text(yaml.safe_dump({"pools": POOLS}))
    with deployed(redis_url, tmp_path, "--config", str(config), env=SOONER) as running:
        yield running


class Traffic:
    """Requests one after another, and how they ended."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.speculation = "auto"
        self.ended: Counter[int] = Counter()
        self.last_pool = ""

    async def flow(self) -> None:
        """Ask until cancelled; every call is a new connection, which may reach either router."""
        while True:
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    f"{self.url}/v1/chat/completions",
                    json=CHAT,
                    headers={"x-alpharoute-task": "sql_generation", "x-alpharoute-speculation": self.speculation},
                ) as answer,
            ):
                await answer.read()
                self.ended[answer.status] += 1
                self.last_pool = answer.headers.get("x-alpharoute-pool", "")


async def test_an_idle_pool_sleeps_and_comes_back_when_missed_and_no_request_fails(service: Deployed) -> None:
    """One replica, none, and one again, under traffic that first wants it, then does not, then does."""
    traffic = Traffic(service.url)
    flowing = asyncio.create_task(traffic.flow())
    try:
        await _until(lambda: traffic.last_pool == "draft", flowing, "speculation is never chosen")
        traffic.speculation = "off"
        await _until_states(service, flowing, ["asleep"])
        asked = traffic.ended[200]
        await _until(lambda: traffic.ended[200] >= asked + 20, flowing, "the other pool does not answer")
        assert traffic.last_pool == "vanilla"
        assert await _states(service) == ["asleep"], "nobody wanted it, and it woke"
        traffic.speculation = "auto"
        await _until(lambda: traffic.last_pool == "draft", flowing, "it never came back")
        await _until_states(service, flowing, ["ready"])
    finally:
        flowing.cancel()
        await asyncio.gather(flowing, return_exceptions=True)
    assert set(traffic.ended) == {200}, traffic.ended


async def _states(service: Deployed) -> list[str]:
    return [beat.state for beat in await service.heartbeats() if beat.pool == "draft"]


async def _until_states(service: Deployed, flowing: asyncio.Task[None], wanted: list[str]) -> None:
    deadline = time.monotonic() + 120
    while (states := await _states(service)) != wanted:
        assert not flowing.done(), flowing.exception()
        assert time.monotonic() < deadline, f"the pool is {states}, never {wanted}"
        await asyncio.sleep(0.2)


async def _until(good: Callable[[], bool], flowing: asyncio.Task[None], otherwise: str) -> None:
    deadline = time.monotonic() + 120
    while not good():
        assert not flowing.done(), flowing.exception()
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.1)
