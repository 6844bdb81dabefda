"""Clients that stay and read nothing: neither a deadline nor a place in an engine waits for them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping

import orjson
import pytest
from scripted import Asked, ScriptedEngine
from service import CHAT, VANILLA, Service, running_service, settings_with

from router.api.http import ClientGone, Connected, Message
from router.api.patience import PatientSend

BIG = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 60_000 + b'"}}]}\n\n'


@contextlib.asynccontextmanager
async def unread(limits: Mapping[str, object], head: str) -> AsyncIterator[tuple[Service, asyncio.Event]]:
    """A stream without an end whose client reads no byte of it, and what tells that the engine has stopped."""
    stopped = asyncio.Event()

    async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"%x\r\n%b\r\n" % (len(BIG), BIG))
                await writer.drain()
        finally:
            stopped.set()

    engine = ScriptedEngine(endless)
    async with running_service(settings_with([VANILLA], limits=limits), {"vanilla-1": engine}) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            body = orjson.dumps({**CHAT, "stream": True})
            asked = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}content-length: {len(body)}\r\n\r\n"
            client.sendall(asked.encode() + body)
            await service.until(lambda: service.metric("in_flight_requests", pool="vanilla") == 1)
            yield service, stopped


@pytest.mark.parametrize(
    ("limits", "head"), [({"silence_s": 0.2}, ""), ({}, "x-request-timeout-ms: 300\r\n")], ids=["silence", "deadline"]
)
async def test_a_client_that_reads_nothing_is_given_up(limits: Mapping[str, object], head: str) -> None:
    """The engine stops, the place is free, and the request counts as one whose client left."""
    async with unread(limits, head) as (service, stopped):
        await service.until(lambda: service.total("requests_total", status="499") == 1)
        await service.until(stopped.is_set)
        assert service.metric("in_flight_requests", pool="vanilla") == 0
        assert service.total("engine_failures_total") == 0


async def _silent() -> Message:
    """A client of whom nothing more is heard."""
    await asyncio.get_running_loop().create_future()
    return {}


async def test_what_tells_of_a_deadline_is_sent_after_it() -> None:
    """A message begun after the deadline has the time that any message has."""
    sent: list[Message] = []

    async def send(one: Message) -> None:
        await asyncio.sleep(0)
        sent.append(one)

    loop = asyncio.get_running_loop()
    async with Connected(_silent) as client:
        with PatientSend(send, client, loop.time() - 1, 60) as patient:
            await patient({"type": "http.response.body"})
    assert len(sent) == 1


async def test_a_pause_between_messages_is_not_the_client_s() -> None:
    """Only a message that waits is held against the client, from when it was begun."""
    loop, stuck = asyncio.get_running_loop(), asyncio.Event()
    waiting_since_s = 0.0

    async def send(one: Message) -> None:
        if one["more_body"]:
            await stuck.wait()

    async def answer() -> None:
        nonlocal waiting_since_s
        async with Connected(_silent) as client:
            with PatientSend(send, client, loop.time() + 60, 0.05) as patient:
                await patient({"more_body": False})
                await asyncio.sleep(0.12)
                waiting_since_s = loop.time()
                await patient({"more_body": True})

    with pytest.raises(ClientGone):
        await answer()
    assert loop.time() - waiting_since_s > 0.049
