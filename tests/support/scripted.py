"""Engines for tests: one that answers with the very bytes it was given, and a simulator whose answers are on tape."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from engines.simulator.engine import SimulatedEngine
from engines.simulator.exchange import AsgiMessage, Receive, Scope, Send
from engines.simulator.server import SimulatorServer


@dataclass
class Asked:
    """A request that reached an engine."""

    head: str
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        """The body, decoded."""
        decoded: dict[str, object] = orjson.loads(self.body)
        return decoded

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name."""
        lines = (line.partition(":") for line in self.head.split("\r\n")[1:] if line)
        return {name.lower(): value.strip() for name, _, value in lines}


Script = Callable[[Asked, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def answer(body: bytes, *, status: str = "200 OK", headers: str = "content-type: application/json\r\n") -> Script:
    """A whole answer, these bytes."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body)

    return play


def raw(data: bytes) -> Script:
    """These bytes on the connection, then its end."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return play


def stream(*parts: bytes, pause: asyncio.Event | None = None, at: int = 1, ends: bool = True) -> Script:
    """An event stream in these pieces; before piece `at` it waits for `pause`; without `ends` it breaks off."""

    async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for index, part in enumerate(parts):
            if pause is not None and index == at:
                await pause.wait()
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        if ends:
            writer.write(b"0\r\n\r\n")
        else:
            writer.close()

    return play


@dataclass
class ScriptedEngine:
    """Answers by the script; `asked` has what it was sent, `lost` counts answers that the router did not wait for."""

    script: Script
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    lost: int = 0
    _server: asyncio.Server | None = None
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                asked = Asked(head.removesuffix("\r\n\r\n"), b"")
                asked.body = await reader.readexactly(int(asked.headers.get("content-length", "0")))
                self.asked.append(asked)
                await self._play(asked, reader, writer)
        writer.close()
        self._serving.discard(task)

    async def _play(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        playing = asyncio.ensure_future(self.script(asked, writer))
        while not playing.done() and not reader.at_eof():
            await asyncio.wait({playing}, timeout=0.005)
        if not playing.done():
            self.lost += 1
            playing.cancel()


class TapedSimulator(SimulatorServer):
    """A simulator that keeps what it was sent and the bodies of its answers, as they left it."""

    def __init__(self, engine: SimulatedEngine) -> None:
        super().__init__(engine)
        self.asked: list[dict[str, object]] = []
        self.answers: list[bytes] = []
        self._app: Any = self._taped(self._app)

    def _taped(self, app: Any) -> Any:
        async def taping(scope: Scope, receive: Receive, send: Send) -> None:
            asked, said = bytearray(), bytearray()

            async def heard() -> AsgiMessage:
                message = await receive()
                asked.extend(message.get("body", b""))
                return message

            async def told(message: AsgiMessage) -> None:
                said.extend(message.get("body", b""))
                await send(message)

            await app(scope, heard, told)
            if asked:
                self.asked.append(orjson.loads(bytes(asked)))
                self.answers.append(bytes(said))

        return taping
