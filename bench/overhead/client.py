"""The load generator's HTTP: little work per byte, so that it is the router that is measured."""

import asyncio
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import orjson

from router.access.keys import new_key

_EVENT = b"data: "
_END = b"0\r\n\r\n"
LIMIT_BYTES = 1 << 20
KEY = new_key()
"""What every request shows: a router looks it up, an engine that wants none ignores it."""


@dataclass(slots=True)
class Connection:
    """One connection to a server; requests on it go one after another."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _head: bytes

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to a base URL such as http://127.0.0.1:8000."""
        at = urlsplit(url)
        reader, writer = await asyncio.open_connection(at.hostname, at.port or 80, limit=LIMIT_BYTES)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-type: application/json\r\n"
        head += f"authorization: Bearer {KEY}\r\n"
        # Every router and engine gets the same choice of engine; those that do not know the header ignore it.
        return cls(reader, writer, f"{head}x-alpharoute-speculation: off\r\ncontent-length: ".encode())

    async def whole(self, body: bytes) -> float:
        """Seconds until the whole answer is here; raises RuntimeError where it is no 200."""
        began_s = time.perf_counter()
        head = await self._ask(body)
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if length:
            await self._reader.readexactly(int(length))
        else:
            await self._reader.readuntil(_END)
        return time.perf_counter() - began_s

    async def events(self, body: bytes) -> int:
        """Events of a stream, read to its end; raises RuntimeError where it is no 200."""
        await self._ask(body)
        count, tail = 0, b""
        while not tail.endswith(_END):
            data = await self._reader.read(LIMIT_BYTES)
            if not data:
                raise RuntimeError("the stream broke off")
            # An event's mark that is cut in two is missed: one in thousands, for every target alike.
            count += data.count(_EVENT)
            tail = (tail + data)[-len(_END) :]
        return count

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _ask(self, body: bytes) -> bytes:
        self._writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"expected a 200, got {head.splitlines()[0].decode('latin-1')!r}")
        return head


def chat(model: str, tokens: int, *, stream: bool) -> bytes:
    """A small chat request for exactly so many tokens."""
    text = "[task:sql_generation] Write a query that joins orders and customers and sums the amount per country."
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": stream,
    }
    return orjson.dumps(body)
