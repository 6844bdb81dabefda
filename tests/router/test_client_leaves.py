"""Clients that leave: the engine stops working for them, and nothing of them stays behind."""

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from service import CHAT, VANILLA, Service, running_service, settings_with, simulator

from engines.simulator.failures import Failure

LONG = {**CHAT, "max_tokens": 4000, "ignore_eos": True}


@pytest.fixture
async def slow() -> AsyncIterator[Service]:
    """One engine that takes its time for every token."""
    engine = simulator(VANILLA, calibration="cpu-demo", time_scale=2)
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as running:
        yield running


def message(body: object, *, length: int | None = None, path: str = "/v1/chat/completions") -> bytes:
    """A request as bytes; `length` is what it declares."""
    data = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(data) if length is None else length}\r\n\r\n".encode() + data


async def ask_and_leave(service: Service, sent: bytes, until: Callable[[], bool], *, first_byte: bool = False) -> None:
    """Send, wait for the first byte or a condition, and hang up."""
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    await writer.drain()
    if first_byte:
        assert await reader.read(1) == b"H"
    await service.until(until)
    writer.close()
    await writer.wait_closed()


async def nothing_is_left(service: Service, tasks_before: int) -> None:
    """No task, no request in flight, nothing running in the engine; counted as 499."""
    fleet = service.ingress.fleet
    await service.until(lambda: service.total("requests_total", status="499") == 1)
    await service.until(lambda: not service.simulator("vanilla-1").engine.batch.running)
    await service.until(lambda: len(asyncio.all_tasks()) <= tasks_before)
    assert service.metric("in_flight_requests", pool="vanilla") == 0
    assert [entry.occupancy.own.total() for entry in fleet._entries.values()] == [0]
    assert service.total("requests_total", status="500") == 0


@pytest.mark.parametrize("streams", [True, False])
async def test_a_client_that_leaves_takes_its_request_with_it(slow: Service, streams: bool) -> None:
    """Streaming or not, the engine's request is aborted within moments."""
    engine = slow.simulator("vanilla-1").engine
    tasks = len(asyncio.all_tasks())
    await ask_and_leave(
        slow, message({**LONG, "stream": streams}), lambda: bool(engine.batch.running), first_byte=streams
    )
    await nothing_is_left(slow, tasks)
    assert (engine.tally.aborted, engine.tally.served) == (1, 0)
    assert slow.metric("aborted_requests_total", pool="vanilla") == 1


async def test_a_client_that_leaves_before_the_first_byte(slow: Service) -> None:
    """While the engine says nothing at all, leaving is noticed too."""
    engine = slow.simulator("vanilla-1").engine
    engine.failures.add(Failure.model_validate({"kind": "hang"}))
    tasks = len(asyncio.all_tasks())
    await ask_and_leave(slow, message({**LONG, "stream": True}), lambda: engine.tally.failed == 1)
    await nothing_is_left(slow, tasks)
    assert slow.total("engine_failures_total") == 0


async def test_a_client_that_leaves_during_its_upload(slow: Service) -> None:
    """Half a body is no request: no engine hears of it."""
    tasks = len(asyncio.all_tasks())
    sent = message(LONG, length=100_000)
    await ask_and_leave(slow, sent, lambda: len(asyncio.all_tasks()) > tasks)
    await nothing_is_left(slow, tasks)
    assert not slow.simulator("vanilla-1").state()["recent"]


async def test_a_body_that_never_ends_is_given_up() -> None:
    """A declared length that does not come is a 408 in time, and the connection is closed."""
    settings = settings_with([VANILLA], limits={"body_s": 0.2})
    async with running_service(settings, {"vanilla-1": simulator(VANILLA)}) as service:
        host, port = service.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(message(LONG, length=100_000))
        got = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in got


async def test_many_that_leave_leave_nothing(slow: Service) -> None:
    """Fifty at once, half of them streaming, gone at any moment: tasks, flights and connections are back to none."""
    tasks = len(asyncio.all_tasks())

    async def come_and_go(index: int) -> None:
        try:
            async with asyncio.timeout(0.02 * (index % 10)):
                async with slow.session.post("/v1/chat/completions", json={**LONG, "stream": index % 2 == 0}) as got:
                    await got.read()
        except TimeoutError:
            pass

    await asyncio.gather(*(come_and_go(index) for index in range(50)))
    engine = slow.simulator("vanilla-1").engine
    await slow.until(lambda: slow.total("in_flight_requests") == 0 and not engine.batch.running)
    await slow.until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert [entry.occupancy.own.total() for entry in slow.ingress.fleet._entries.values()] == [0]
    session = slow.ingress.upstream._session
    assert session is not None
    assert session.connector is not None
    # Nothing public counts the connections in use.
    assert not session.connector._acquired
    assert engine.tally.served == 0


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(slow: Service) -> None:
    """Expect: 100-continue gets its 100 before the answer."""
    host, port = slow.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = message({**CHAT, "max_tokens": 1}).replace(
        b"host: x", b"host: x\r\nexpect: 100-continue\r\nconnection: close"
    )
    head, _, body = sent.partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_pipelined_requests_are_answered_in_turn(slow: Service) -> None:
    """Two requests in one packet get two answers on the same connection."""
    host, port = slow.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    last = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    writer.write(message({**CHAT, "max_tokens": 2}) + message({**CHAT, "model": "x"}) + last)
    got = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert [got.count(status) for status in (b"HTTP/1.1 200", b"HTTP/1.1 404")] == [2, 1]
    assert got.rstrip().endswith(b'{"status":"ok"}')
