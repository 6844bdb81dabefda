"""Reads that are asked at the same moment: one round trip, and each asker's own answers and errors."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from router.state.redis_client import connect
from router.state.redis_store import AsyncRedis
from router.state.together import Together

pytestmark = pytest.mark.redis


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[AsyncRedis]:
    """A client of a running server."""
    client = connect(redis_url, timeout_s=5)
    yield client
    await client.aclose()


@pytest.fixture
def trips(redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for every pipeline that is begun."""
    begun: list[None] = []
    pipeline = redis.pipeline

    def counted(*args: Any, **named: Any) -> Any:
        begun.append(None)
        return pipeline(*args, **named)

    monkeypatch.setattr(redis, "pipeline", counted)
    return begun


async def test_what_is_asked_at_once_goes_together(redis: AsyncRedis, trips: list[None]) -> None:
    """Two askers, one trip; answers come decoded as the commands' own, in order."""
    together, name = Together(redis), f"test-{uuid.uuid4().hex}"
    one = together.ask(("SET", name, "1"), ("GET", name))
    two = together.ask(("HGETALL", f"{name}-none"))
    assert list(await asyncio.gather(one, two)) == [[True, "1"], [{}]]
    assert len(trips) == 1
    assert await together.ask(("DEL", name)) == [1]
    assert len(trips) == 2


async def test_an_error_is_its_asker_s_alone(redis: AsyncRedis) -> None:
    """Whoever asked beside it gets the answer."""
    together, name = Together(redis), f"test-{uuid.uuid4().hex}"
    await together.ask(("SET", name, "no hash"))
    wrong, right = together.ask(("GET", name), ("HGETALL", name)), together.ask(("GET", name))
    found = await asyncio.gather(wrong, right, together.ask(("DEL", name)), return_exceptions=True)
    assert isinstance(found[0], ResponseError)
    assert list(found[1:]) == [["no hash"], [1]]


async def test_who_leaves_takes_nobody_along(redis: AsyncRedis) -> None:
    """One asker is cancelled while the trip is under way; the other has its answer."""
    together = Together(redis)
    leaves, stays = asyncio.create_task(together.ask(("PING",))), asyncio.create_task(together.ask(("ECHO", "here")))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == ["here"]
    assert leaves.cancelled()


async def test_nobody_waits_for_a_redis_that_is_not_there() -> None:
    """Every asker hears why."""
    client = connect("redis://127.0.0.1:1", timeout_s=1)
    together = Together(client)
    found = await asyncio.gather(together.ask(("PING",)), together.ask(("PING",)), return_exceptions=True)
    await client.aclose()
    assert [type(one) for one in found] == [RedisConnectionError] * 2
