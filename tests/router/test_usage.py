"""Limits of a key over several routers: what is refused, what is told, and by how much a limit may be exceeded."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from doorway import USED, Doorway, doorway, key_of
from openai import OpenAI, RateLimitError

from router.access.keys import Key, KeyLimits, new_key
from router.access.quota import Use
from router.access.redis_door import RedisUsageStore
from router.access.usage import CARRIED_S, Admitted, MemoryUsageStore, Refused, Sheet, Usage, UsageStore
from router.state.redis_store import Keys, connect
from router.state.store import StoreError

START_S = 1_800_000_000.0


def _limited(**limits: int) -> Key:
    return key_of(new_key(), "team-a", limits=limits)


class At:
    """A clock that a test moves."""

    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """The time it stands at."""
        return self.now_s


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[UsageStore]:
    """Both implementations of the seam."""
    if request.param == "memory":
        yield MemoryUsageStore()
    else:
        redis = connect(redis_url, timeout_s=5)
        yield RedisUsageStore(redis, Keys(f"test-{uuid.uuid4().hex[:8]}"))
        await redis.aclose()


async def test_the_contract_of_a_usage_store(store: UsageStore) -> None:
    """Totals are absolute: what is written again counts once, and every router's stand side by side."""
    mine: dict[int, dict[str, Use]] = {6: {"a": Use(1, 10, 0)}, 7: {"a": Use(2, 20, 1), "b.c-d": Use(3, 30, 2)}}
    for _ in range(3):
        assert await store.exchange("r1", mine) == {6: {"r1": mine[6]}, 7: {"r1": mine[7]}}
    told = await store.exchange("r2", {6: {}, 7: {"a": Use(5, 50, 5)}})
    assert told == {6: {"r1": mine[6]}, 7: {"r1": mine[7], "r2": {"a": Use(5, 50, 5)}}}


def _ask(usage: Usage, key: Key, times: int) -> int:
    """How many of so many requests are admitted."""
    return sum(isinstance(usage.admit(key, 0), Admitted) for _ in range(times))


async def test_two_routers_keep_one_limit(store: UsageStore) -> None:
    """Once they have told each other, what one admitted the other does not."""
    clock, key = At(), _limited(requests_per_minute=10)
    one, two = Usage(store, "r1", clock), Usage(store, "r2", clock)
    assert _ask(one, key, 6) == 6
    assert _ask(two, key, 1) == 1
    for usage in (one, two, one):
        await usage.exchange()
    assert _ask(two, key, 20) == 3
    await two.exchange()
    await one.exchange()
    assert _ask(one, key, 20) == 0
    clock.now_s += 120
    await one.exchange()
    assert _ask(one, key, 20) == 10


async def test_the_most_by_which_a_limit_is_exceeded(store: UsageStore) -> None:
    """Before they have told each other, each of R routers admits up to what is left: R times it, once, then nothing."""
    clock, key = At(), _limited(requests_per_minute=10)
    routers = [Usage(store, f"r{number}", clock) for number in range(3)]
    assert [_ask(usage, key, 50) for usage in routers] == [10, 10, 10]
    for usage in [*routers, *routers]:
        await usage.exchange()
    assert [_ask(usage, key, 50) for usage in routers] == [0, 0, 0]
    clock.now_s += 60 + 39
    for usage in [*routers, *routers]:
        await usage.exchange()
    assert [_ask(usage, key, 50) for usage in routers] == [0, 0, 0], "the excess is paid back in the next minute"


class Away:
    """A store that can be away."""

    def __init__(self, inner: UsageStore) -> None:
        self.inner = inner
        self.away = False

    async def exchange(self, router: str, mine: Mapping[int, Sheet]) -> Mapping[int, Mapping[str, Sheet]]:
        """Fails while away."""
        if self.away:
            raise StoreError("away")
        return await self.inner.exchange(router, mine)


async def test_without_redis_each_router_takes_its_share(caplog: pytest.LogCaptureFixture) -> None:
    """Two routers that have known each other halve the limit between them; nobody is locked out, one line says it."""
    clock, key, store = At(), _limited(requests_per_minute=10), Away(MemoryUsageStore())
    one, two = Usage(store, "r1", clock), Usage(store, "r2", clock)
    assert _ask(one, key, 1) + _ask(two, key, 1) == 2
    for usage in (one, two, one):
        await usage.exchange()
    store.away = True
    clock.now_s += 180
    for _ in range(5):
        for usage in (one, two):
            await usage.exchange()
    assert (_ask(one, key, 50), _ask(two, key, 50)) == (5, 5)
    assert caplog.text.count("keeps to its share") == 2
    store.away = False
    clock.now_s += 180
    for usage in (one, two, one):
        await usage.exchange()
    assert _ask(one, key, 50) == 10


async def test_running_requests_are_limited_over_routers(store: UsageStore) -> None:
    """One that ends makes room for one at any router."""
    clock, key = At(), _limited(concurrent=2)
    one, two = Usage(store, "r1", clock), Usage(store, "r2", clock)
    first = one.admit(key, 0)
    assert isinstance(first, Admitted)
    assert _ask(two, key, 1) == 1
    for usage in (one, two):
        await usage.exchange()
    refused = two.admit(key, 0)
    assert isinstance(refused, Refused)
    assert refused.what == "concurrent"
    one.close(first, 0)
    for usage in (one, two):
        await usage.exchange()
    assert _ask(two, key, 5) == 1


async def test_what_runs_counts_over_the_end_of_a_minute(store: UsageStore) -> None:
    """The others have told nothing of the new minute yet: what they answered in the old one they answer still."""
    clock, key = At(START_S + 59.9), _limited(concurrent=2)
    one, two = Usage(store, "r1", clock), Usage(store, "r2", clock)
    running = [one.admit(key, 0) for _ in range(2)]
    assert _ask(two, key, 1) == 1
    for usage in (one, two):
        await usage.exchange()
    clock.now_s = START_S + 60.01
    assert _ask(two, key, 1) == 0, "before this router has asked"
    await two.exchange()
    assert _ask(two, key, 1) == 0, "before the other has told"
    await one.exchange()
    await two.exchange()
    assert _ask(two, key, 1) == 0
    for admitted in running:
        assert isinstance(admitted, Admitted)
        one.close(admitted, 0)
    await one.exchange()
    await two.exchange()
    assert _ask(two, key, 5) == 1, "what is over is over at once"


async def test_what_runs_counts_where_clocks_differ(store: UsageStore) -> None:
    """A router that is in the next minute already goes on telling those that are not."""
    early, late, key = At(START_S + 59), At(START_S + 59), _limited(concurrent=2)
    one, two = Usage(store, "r1", early), Usage(store, "r2", late)
    assert (_ask(one, key, 2), _ask(two, key, 1)) == (2, 1)
    early.now_s += 1
    for usage in (one, two):
        await usage.exchange()
    assert _ask(two, key, 1) == 0


async def test_what_a_dead_router_answered_is_over_after_a_minute(store: UsageStore) -> None:
    """A few seconds into the next minute who has told nothing of it is gone."""
    clock, key = At(START_S + 59.9), _limited(concurrent=2)
    one, two = Usage(store, "r1", clock), Usage(store, "r2", clock)
    assert (_ask(one, key, 2), _ask(two, key, 1)) == (2, 1)
    for usage in (one, two):
        await usage.exchange()
    clock.now_s = START_S + 60 + CARRIED_S
    await two.exchange()
    assert _ask(two, key, 5) == 1


async def test_the_end_of_a_long_request_is_told(store: UsageStore) -> None:
    """It counts until then, though its minute is long forgotten, and no longer, though it took nothing."""
    clock, key = At(), _limited(concurrent=1)
    one, two = Usage(store, "r1", clock), Usage(store, "r2", clock)
    admitted, short = one.admit(key, 100), two.admit(key, 0)
    assert isinstance(admitted, Admitted)
    assert isinstance(short, Admitted)
    two.close(short, 0)
    for _ in range(3):
        for usage in (one, two, one):
            await usage.exchange()
        assert _ask(two, key, 1) == 0
        clock.now_s += 60
    for usage in (one, two):
        await usage.exchange()
    one.close(admitted, 0)
    for usage in (one, two):
        await usage.exchange()
    assert _ask(two, key, 5) == 1
    assert one._accounts.keys() == {key.id}
    await one.exchange()
    assert one._accounts == {}


async def test_what_is_idle_is_forgotten() -> None:
    """Accounts do not pile up: two minutes after a key's last request nothing of it is held or exchanged."""
    clock, key = At(), _limited(requests_per_minute=10)
    usage = Usage(MemoryUsageStore(), "r1", clock)
    admitted = usage.admit(key, 5)
    assert isinstance(admitted, Admitted)
    usage.close(admitted, 5)
    clock.now_s += 180
    await usage.exchange()
    assert usage._accounts == {}


class Counting(MemoryUsageStore):
    """A store that counts its exchanges."""

    exchanges = 0

    async def exchange(self, router: str, mine: Mapping[int, Sheet]) -> Mapping[int, Mapping[str, Sheet]]:
        """See UsageStore."""
        self.exchanges += 1
        return await super().exchange(router, mine)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_only_what_changes_is_exchanged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long stream changes nothing between its begin and its end: each is told at once, and little in between."""
    monkeypatch.setattr("router.access.usage.EACH_S", 0.0)
    store, key = Counting(), _limited(requests_per_minute=10)
    usage = Usage(store, "r1", At())
    running = asyncio.create_task(usage.run(every_s=0, quiet_s=3600))
    try:
        await _turns(20)
        admitted = usage.admit(key, 0)
        assert isinstance(admitted, Admitted)
        await _turns(50)
        assert store.exchanges == 1
        usage.close(admitted, 0)
        await _turns(50)
        assert store.exchanges == 2
    finally:
        running.cancel()


async def test_an_estimate_that_was_too_high_is_no_credit_later() -> None:
    """A large body whose answer takes minutes and few tokens must not open the limit for a burst."""
    clock, key = At(), _limited(tokens_per_minute=10_000)
    usage = Usage(MemoryUsageStore(), "r1", clock)
    admitted = usage.admit(key, 1_000_000)
    assert isinstance(admitted, Admitted)
    for _ in range(3):
        clock.now_s += 60
        await usage.exchange()
    usage.close(admitted, 100)
    after = usage.admit(key, 1)
    assert isinstance(after, Admitted)
    assert after.rooms["tokens"].left == 9_999


async def test_an_estimate_that_was_too_high_is_given_back_within_its_minute() -> None:
    """Only tokens that were taken count against a key."""
    clock, key = At(), _limited(tokens_per_minute=1_000)
    usage = Usage(MemoryUsageStore(), "r1", clock)
    admitted = usage.admit(key, 900)
    assert isinstance(admitted, Admitted)
    usage.close(admitted, 100)
    after = usage.admit(key, 0)
    assert isinstance(after, Admitted)
    assert after.rooms["tokens"].left == 900


@pytest.fixture
def bearer(door: Doorway) -> dict[str, str]:
    """The limited client's header."""
    return door.bearer("client")


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Doorway]:
    """A client that may 3 requests and 100 tokens a minute; the clock stands at the start of one."""
    limits = KeyLimits(requests_per_minute=3, tokens_per_minute=100)
    async with doorway(tmp_path, limits=limits, clock_s=At()) as running:
        yield running


async def _post(door: Doorway, headers: Mapping[str, str], body: bytes = b"{}") -> aiohttp.ClientResponse:
    async with door.session.post("/v1/chat/completions", data=body, headers=headers) as answer:
        await answer.read()
        return answer


async def test_answers_say_what_is_left(door: Doorway, bearer: dict[str, str]) -> None:
    """Under OpenAI's names, the request itself counted."""
    answer = await _post(door, bearer)
    said = {name.removeprefix("x-ratelimit-"): value for name, value in answer.headers.items() if "ratelimit" in name}
    assert said == {
        "limit-requests": "3",
        "remaining-requests": "2",
        "reset-requests": "2m0s",
        "limit-tokens": "100",
        "remaining-tokens": "100",
        "reset-tokens": "0ms",
    }
    answer = await _post(door, bearer)
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(100 - USED)


async def test_past_the_limit_is_a_429_that_says_when(door: Doorway, bearer: dict[str, str]) -> None:
    """Retry-After is when one more fits; a request that is refused reaches nothing and counts nothing."""
    for _ in range(3):
        assert (await _post(door, bearer)).status == 200
    for _ in range(3):
        refused = await _post(door, bearer)
        assert refused.status == 429
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        # 3 of 3 in this minute: in the next one they have shrunk to 2 after a third of it.
        assert refused.headers["retry-after"] == "80"
    assert len(door.app.scopes) == 3


async def test_reading_does_not_count(door: Doorway, bearer: dict[str, str]) -> None:
    """Lists of models may be asked for however often."""
    for _ in range(5):
        async with door.session.get("/v1/models", headers=bearer) as answer:
            assert answer.status == 200
            assert "x-ratelimit-limit-requests" not in answer.headers


async def test_a_refused_request_costs_no_tokens(door: Doorway, bearer: dict[str, str]) -> None:
    """What the engine did not answer is not charged, whatever its body was estimated at."""
    await _post(door, {**bearer, "x-fails": "1", "x-used": "none"}, b"x" * 360)
    answer = await _post(door, {**bearer})
    assert answer.headers["x-ratelimit-remaining-tokens"] == "100"


async def test_tokens_nobody_reported_are_estimated(door: Doorway, bearer: dict[str, str]) -> None:
    """A quarter of the body's bytes: leaving early, or an engine that counts nothing, is no way round the limit."""
    await _post(door, {**bearer, "x-used": "none"}, b"x" * 360)
    answer = await _post(door, bearer)
    assert answer.headers["x-ratelimit-remaining-tokens"] == "10"
    assert (await _post(door, bearer)).status == 429


async def test_a_body_without_a_length_is_estimated_too(door: Doorway, bearer: dict[str, str]) -> None:
    """What came in counts where nothing was declared."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * 40

    async with door.session.post("/v1/x", data=pieces(), headers={**bearer, "x-used": "none"}) as answer:
        assert answer.headers["x-ratelimit-remaining-tokens"] == "100"
    assert (await _post(door, bearer)).headers["x-ratelimit-remaining-tokens"] == "10"


def _chat(url: str, key: str) -> None:
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


async def test_openai_s_client_raises_rate_limit_error(door: Doorway) -> None:
    """The exception that programs written for OpenAI catch and wait on."""
    for _ in range(3):
        await asyncio.to_thread(_chat, door.url, door.keys["client"])
    with pytest.raises(RateLimitError) as raised:
        await asyncio.to_thread(_chat, door.url, door.keys["client"])
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after"] == "80"


@pytest.mark.redis
async def test_two_guards_over_one_redis(tmp_path: Path, redis_url: str) -> None:
    """Real HTTP, real Redis: what one router admitted counts at the other within a moment."""
    redis, keys, clock = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex[:8]}"), At()
    key = {"x-api-key": new_key()}
    shared = key_of(key["x-api-key"], "shared", limits={"requests_per_minute": 20})
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    async with (
        doorway(tmp_path / "1", [shared], usage=RedisUsageStore(redis, keys), name="r1", clock_s=clock) as one,
        doorway(tmp_path / "2", [shared], usage=RedisUsageStore(redis, keys), name="r2", clock_s=clock) as two,
    ):
        assert (await _post(two, key)).status == 200
        assert [(await _post(one, key)).status for _ in range(17)] == [200] * 17
        account, deadline = two.guard.usage._accounts["shared"], time.monotonic() + 10
        while sum(use.requests for use in account.others.values()) < 17:
            assert time.monotonic() < deadline, "the routers do not agree"
            await asyncio.sleep(0.005)
        assert [(await _post(two, key)).status for _ in range(4)] == [200, 200, 429, 429]
    await redis.aclose()
