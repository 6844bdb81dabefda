"""Calling an engine over HTTP; the only file that knows the HTTP client."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import aiohttp

from router.errors import EngineUnreachable

# vLLM's server closes an idle connection after 5 s: leaving it first avoids writing into a closed one.
_KEEPALIVE_S = 4.0
_READ_BYTES = 1 << 18
# aiohttp writes bytes in one piece, which stalls the loop when there are many; a file it writes in portions.
_IN_ONE_PIECE_BYTES = 1 << 20

# Of one connection, or said anew by the server in front: content-length is, because events may be left out.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade content-length date server".split()
)

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An engine's answer whose head has arrived; close it to let the engine stop."""

    _response: aiohttp.ClientResponse

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._response.status

    @property
    def streams(self) -> bool:
        """Whether the body is a stream of events."""
        return self._response.content_type == "text/event-stream"

    def headers(self) -> Headers:
        """A fresh list of the headers that are the client's business."""
        raw = self._response.raw_headers
        named = b",".join(value for name, value in raw if name.lower() == b"connection").lower()
        dropped = _HOP_BY_HOP.union(named.replace(b" ", b"").split(b",")) if named else _HOP_BY_HOP
        return [(name, value) for name, value in raw if name.lower() not in dropped]

    async def chunk(self) -> bytes:
        """The next bytes as they arrive, none at the end; raises EngineUnreachable where the engine breaks off."""
        try:
            return await self._response.content.readany()
        except TimeoutError as error:
            raise EngineUnreachable("The engine stopped sending.", code="engine_silent") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(f"The engine broke off: {_said(error)}.", code="engine_lost") from error

    async def body(self) -> bytes:
        """The whole body; raises EngineUnreachable where the engine breaks off."""
        parts: list[bytes] = []
        while part := await self.chunk():
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Drop the connection unless the body was read to its end; an engine aborts what nobody reads."""
        self._response.close()

    def release(self) -> None:
        """Give the connection back after the whole body was read."""
        self._response.release()


class Upstream:
    """A pool of connections to engines; use as an async context manager."""

    def __init__(self, *, connect_s: float, silence_s: float):
        """`silence_s` bounds the wait for the head of an answer and for each next byte."""
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=silence_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Upstream":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BYTES,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request and wait for the head of its answer; raises EngineUnreachable where none comes."""
        assert self._session is not None, "enter the Upstream first"
        data = body if len(body) <= _IN_ONE_PIECE_BYTES else io.BytesIO(body)
        try:
            response = await self._session.post(url, data=data, headers=headers, allow_redirects=False)
        except TimeoutError as error:
            raise EngineUnreachable("The engine did not answer in time.", code="engine_timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(f"The engine cannot be reached: {_said(error)}.", code="engine_lost") from error
        return Answer(response)


def _said(error: BaseException) -> str:
    """The kind of a network error, without the address that its text may hold."""
    return type(error).__name__
