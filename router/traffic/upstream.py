"""Calling an engine over HTTP; the only file that knows the HTTP client."""

import asyncio
import io
import time
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

from engines.http import KEEPALIVE_S
from policies.quick import quick
from router.api.deadline import UNBOUNDED, Deadline
from router.errors import EngineUnreachable, NotConnected
from router.traffic.running_time import RunningTime
from router.traffic.vigil import Vigil, silent

_READ_BYTES = 1 << 18
# aiohttp writes bytes in one piece, which stalls the loop when there are many; a file it writes in portions. From as
# many on, Python lets other threads run while it joins them.
_IN_ONE_PIECE_BYTES = 1 << 20

# Of one connection, or said anew: the length, because events may be left out, and the id, which is the router's.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade content-length date server x-request-id".split()
)

Headers = list[tuple[bytes, bytes]]
_T = TypeVar("_T")

_CONNECT_S: ContextVar[float] = ContextVar("connect_s", default=0.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """Longest waits for an engine: to connect, for the first bytes of an answer, and for each next ones."""

    connect_s: float
    first_byte_s: float
    silence_s: float


class _Connector(aiohttp.TCPConnector):
    """Gives each new connection `connect_s` to be made, and notes how long its request waited for it.

    aiohttp's own time-out would blame engines for a loop that stood still; its tracing costs a dozen calls per request.
    """

    def __init__(self, connect_s: float) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEPALIVE_S)
        self._limit_s = connect_s

    async def _create_connection(self, *args: Any, **named: Any) -> Any:
        """See aiohttp, which asks for one where none is idle, and turns a TimeoutError into its own."""
        began_s = time.perf_counter()
        try:
            async with RunningTime(self._limit_s):
                return await super()._create_connection(*args, **named)
        finally:
            _CONNECT_S.set(time.perf_counter() - began_s)


async def _within(until_s: float, deadline: Deadline, waiting: Awaitable[_T]) -> _T:
    """Wait until a moment on the loop's clock: EngineTimeout then, or DeadlineExceeded where the client's time ends."""
    try:
        async with asyncio.timeout_at(min(until_s, deadline.at_s)) as limit:
            return await waiting
    except TimeoutError:
        if not limit.expired():
            raise  # one of aiohttp's own
        if deadline.at_s <= until_s:
            raise deadline.exceeded() from None
        raise silent() from None


@quick
@dataclass(frozen=True, slots=True)
class Answer:
    """An engine's answer whose head has arrived; close it to let the engine stop.

    `connect_s`: how long the request waited for a connection.
    """

    connect_s: float
    _response: aiohttp.ClientResponse
    _vigil: Vigil
    _first_by_s: float
    _silence_s: float

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

    async def first(self) -> bytes:
        """The first bytes of the body, none where it is empty; raises as `chunk` does."""
        return await self._read(first=True)

    async def chunk(self) -> bytes:
        """The next bytes as they arrive, none at the end.

        Raises EngineUnreachable where the engine breaks off, EngineTimeout where it falls silent, DeadlineExceeded.
        """
        return await self._read(first=False)

    async def body(self) -> bytes:
        """The whole body; raises as `chunk` does."""
        parts = [await self.first()]
        while parts[-1]:
            parts.append(await self.chunk())
        short = sum(map(len, parts)) <= _IN_ONE_PIECE_BYTES
        return b"".join(parts) if short else await asyncio.to_thread(b"".join, parts)

    async def _read(self, *, first: bool) -> bytes:
        content = self._response.content
        try:
            if (arrived := content.read_nowait()) or content.at_eof():
                return arrived
            with self._vigil.until(self._first_by_s) if first else self._vigil.within(self._silence_s):
                return await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(f"The engine broke off: {_said(error)}.", code="engine_lost") from error

    def close(self) -> None:
        """Drop the connection unless the body was read to its end; an engine aborts what nobody reads."""
        self._vigil.end()
        self._response.close()

    def release(self) -> None:
        """Give the connection back after the whole body was read."""
        self._vigil.end()
        self._response.release()


class Upstream:
    """A pool of connections to engines; use as an async context manager."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Upstream":
        self._session = aiohttp.ClientSession(
            connector=_Connector(self._patience.connect_s),
            timeout=aiohttp.ClientTimeout(total=None),
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

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: Deadline = UNBOUNDED) -> Answer:
        """Send a request and wait for the head of its answer.

        Raises NotConnected where nothing was sent, EngineUnreachable where the engine broke off, EngineTimeout where it
        said nothing for too long, and DeadlineExceeded.
        """
        assert self._session is not None, "enter the Upstream first"
        data = body if len(body) <= _IN_ONE_PIECE_BYTES else io.BytesIO(body)
        first_by_s = asyncio.get_running_loop().time() + self._patience.first_byte_s
        _CONNECT_S.set(0.0)
        asking = self._session.post(url, data=data, headers=headers, allow_redirects=False)
        try:
            response = await _within(first_by_s, deadline, asking)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            why = f"The engine cannot be reached: {_said(error)}."
            raise NotConnected(why, code="engine_not_connected") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(f"The engine broke off: {_said(error)}.", code="engine_lost") from error
        vigil = Vigil(response.content, deadline)
        return Answer(_CONNECT_S.get(), response, vigil, first_by_s, self._patience.silence_s)


def _said(error: BaseException) -> str:
    """The kind of a network error, without the address that its text may hold."""
    return type(error).__name__
