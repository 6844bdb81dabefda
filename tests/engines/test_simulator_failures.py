"""Failures on demand over HTTP: each kind does what a real engine in that trouble does, as often as ordered."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from engines.simulator.engine import SimulatedEngine
from engines.simulator.failures import Failure, FailureKind, FailureQueue
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings

BODY = {"prompt": "x", "max_tokens": 8, "ignore_eos": True, "temperature": 0}
DEADLINE_S = 10.0


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    """A speculative simulator that does not wait."""
    settings = SimulatorSettings(method="draft_model", time_scale=0)
    async with SimulatorServer(SimulatedEngine(settings)) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """One HTTP client per test."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as client:
        yield client


async def _order(server: SimulatorServer, session: aiohttp.ClientSession, **order: Any) -> None:
    async with session.post(f"{server.url}/simulator/failures", json=order) as response:
        assert response.status == 200, await response.text()


async def _ask(server: SimulatorServer, session: aiohttp.ClientSession, **fields: Any) -> tuple[int, str]:
    async with session.post(f"{server.url}/v1/completions", json=BODY | fields) as response:
        return response.status, await response.text()


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.001)


async def test_refused_requests_get_no_byte(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """The connection closes; after the ordered number requests are served again."""
    await _order(server, session, kind="refuse", requests=2)
    for _ in range(2):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await _ask(server, session)
    assert (await _ask(server, session))[0] == 200
    assert (server.engine.tally.failed, server.engine.tally.served) == (2, 1)


async def test_an_error_has_the_ordered_status_and_an_openai_object(
    server: SimulatorServer, session: aiohttp.ClientSession
) -> None:
    """What an engine out of memory answers."""
    await _order(server, session, kind="error", status=503, requests=1)
    status, text = await _ask(server, session)
    error = json.loads(text)["error"]
    assert (status, error["code"], error["type"], set(error)) == (
        503,
        503,
        "InternalServerError",
        {"message", "type", "param", "code"},
    )


async def test_a_hung_request_is_never_answered(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """It is taken, and ends only when the client gives up; others are served meanwhile."""
    await _order(server, session, kind="hang", requests=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_ask(server, session), 0.3)
    assert (await _ask(server, session))[0] == 200


async def test_health_hangs_only_when_everything_does(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """A dead engine's probes fail too; the admin routes stay."""
    await _order(server, session, kind="hang")
    async with session.get(f"{server.url}/health") as response:
        assert response.status == 200
    await _order(server, session, kind="refuse", everything=True)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await session.get(f"{server.url}/health")
    async with session.delete(f"{server.url}/simulator/failures") as response:
        assert await response.json() == []
    assert (await _ask(server, session))[0] == 200


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_dies_after_the_ordered_events(
    server: SimulatorServer, session: aiohttp.ClientSession, after: int
) -> None:
    """The status was 200 and some events came whole; then the connection breaks without [DONE]."""
    await _order(server, session, kind="die_mid_stream", after_chunks=after, requests=1)
    # A plain socket: aiohttp drops what it had read when a stream breaks.
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    body = json.dumps(BODY | {"stream": True}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    writer.write((head % len(body)).encode() + body)
    received = await asyncio.wait_for(reader.read(-1), DEADLINE_S)
    writer.close()
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"data: ") == received.count(b"\n\n") == after
    assert b"[DONE]" not in received
    assert not received.endswith(b"0\r\n\r\n")
    await _until(lambda: not server.engine.batch.running)
    assert server.engine.tally.failed == 1


async def test_an_answer_that_is_not_streamed_dies_before_its_body(
    server: SimulatorServer, session: aiohttp.ClientSession
) -> None:
    """The work was done and nothing arrives."""
    await _order(server, session, kind="die_mid_stream", requests=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await _ask(server, session)
    assert server.engine.batch.counts.generation_tokens == BODY["max_tokens"]


async def test_a_slow_request_takes_its_factor_longer(server: SimulatorServer, session: aiohttp.ClientSession) -> None:
    """In the engine's own account, which is what a router sees of a noisy replica."""
    fast = json.loads((await _ask(server, session))[1])["metrics"]["generation_time_ms"]
    await _order(server, session, kind="slow", factor=7, requests=1)
    slow = json.loads((await _ask(server, session))[1])["metrics"]["generation_time_ms"]
    again = json.loads((await _ask(server, session))[1])["metrics"]["generation_time_ms"]
    assert slow == pytest.approx(7 * fast)
    assert again == pytest.approx(fast)


async def test_exit_takes_the_listener_and_all_connections(
    server: SimulatorServer, session: aiohttp.ClientSession
) -> None:
    """In-process the server dies as a killed process would; a hung neighbour is cut off too."""
    await _order(server, session, kind="hang", requests=1)
    await _order(server, session, kind="exit")
    hung = asyncio.create_task(_ask(server, session))
    await _until(lambda: server.engine.tally.failed == 1)
    with pytest.raises(aiohttp.ClientError):
        await _ask(server, session)
    with pytest.raises(aiohttp.ClientError):
        await hung
    with pytest.raises(aiohttp.ClientConnectorError):
        await _ask(server, session)


async def test_a_client_that_leaves_is_seen_as_an_abort(
    server: SimulatorServer, session: aiohttp.ClientSession
) -> None:
    """Tests of a router can watch a disconnect arrive, streamed or not."""
    await _order(server, session, kind="slow", factor=1000)
    server.engine.batch.pace.now_s = 0.0
    long = BODY | {"max_tokens": 8000}
    async with session.post(f"{server.url}/v1/completions", json=long | {"stream": True}) as response:
        await response.content.readany()
        response.close()
    await _until(lambda: server.engine.tally.aborted == 1 and not server.engine.batch.running)
    whole = asyncio.create_task(_ask(server, session, max_tokens=8000))
    await _until(lambda: bool(server.engine.batch.running))
    whole.cancel()
    await _until(lambda: server.engine.tally.aborted == 2 and not server.engine.batch.running)
    assert server.engine.batch.counts.finished["abort"] == 2
    assert [record.outcome for record in server.engine.tally.recent] == ["aborted", "aborted"]


@pytest.mark.parametrize(
    ("order", "param"),
    [
        ({"kind": "explode"}, "body.kind"),
        ({"kind": "error", "status": 200}, "body.status"),
        ({"kind": "slow", "speed": 2}, "body.speed"),
        ({}, "body.kind"),
    ],
)
async def test_wrong_orders_are_refused_by_field(
    server: SimulatorServer, session: aiohttp.ClientSession, order: dict[str, object], param: str
) -> None:
    """Unknown keys included."""
    async with session.post(f"{server.url}/simulator/failures", json=order) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == param
    assert server.engine.failures.pending() == []


def test_orders_are_used_up_in_sequence() -> None:
    """The first that applies wins and counts down; one for everything also meets generation."""
    queue = FailureQueue((Failure(kind=FailureKind.HANG, requests=1), Failure(kind=FailureKind.ERROR, everything=True)))
    kinds = [taken.kind for g in (False, True, True, False) if (taken := queue.take(generation=g))]
    assert kinds == [FailureKind.ERROR, FailureKind.HANG, FailureKind.ERROR, FailureKind.ERROR]
    queue.clear()
    assert queue.take(generation=True) is None
