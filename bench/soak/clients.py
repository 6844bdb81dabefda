"""Clients that ask, read, and sometimes leave; each knows how its request ended."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import uuid4

import aiohttp
import orjson

PATIENCE_S = 60.0
LEAVE_SHARE = 0.15
MOST_TOKENS = 160
ROUTERS_OWN = "internal_error"
TASKS = ("sql_generation", "creative_writing", "translation", "code_generation")


class End(StrEnum):
    """How a request ended for its client."""

    COMPLETE = "complete"
    """The whole answer came."""
    REFUSED = "refused"
    """An error object with a code, and an error status or, within a stream, an error event."""
    BROKEN = "broken"
    """The router's own failure: worded, and yet a fault in it."""
    UNWORDED = "unworded"
    """An error status without an error object: the load balancer's own."""
    CUT = "cut"
    """The connection broke: clear, and yet without a word."""
    LEFT = "left"
    """The client itself hung up."""
    HUNG = "hung"
    """Nothing for a minute."""
    TRUNCATED = "truncated"
    """It looks complete and is not."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One request: its id, how it ended, when (monotonic), and the error's code."""

    name: str
    end: End
    at_s: float
    code: str = ""


@dataclass(slots=True)
class Load:
    """Clients at one URL, each with one request at a time; `ended` has every request that was sent."""

    url: str
    model: str
    clients: int
    seed: int = 0
    ended: list[Ended] = field(default_factory=list)

    async def run(self, until_s: float) -> None:
        """Ask until a moment on the monotonic clock; what was asked by then is waited for."""
        # A connection per request: each meets a router of the load balancer's choice.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(
                *(self._client(session, random.Random(self.seed + i), until_s) for i in range(self.clients))
            )

    def counts(self) -> dict[str, int]:
        """Requests by how they ended."""
        return dict(Counter(str(one.end) for one in self.ended))

    async def _client(self, session: aiohttp.ClientSession, draws: random.Random, until_s: float) -> None:
        await asyncio.sleep(draws.random())
        while time.monotonic() < until_s:
            name = uuid4().hex
            end, code = await ask(session, self.url, self.model, name, draws)
            self.ended.append(Ended(name, end, time.monotonic(), code))
            # Whoever was refused comes back a little later, as real clients do.
            await asyncio.sleep(draws.random() * (0.3 if end is End.COMPLETE else 1.0))


async def ask(session: aiohttp.ClientSession, url: str, model: str, name: str, draws: random.Random) -> tuple[End, str]:
    """One request and how it ended, with the code of its error."""
    streams, leaves = draws.random() < 0.7, draws.random() < LEAVE_SHARE
    text = f"[task:{draws.choice(TASKS)}] question {draws.randrange(50)}"
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": draws.randint(8, MOST_TOKENS),
        "temperature": draws.choice((0, 1)),
        "ignore_eos": True,
        "stream": streams,
    }
    patience_s = draws.random() if leaves else PATIENCE_S
    try:
        async with (
            asyncio.timeout(patience_s),
            session.post(f"{url}/v1/chat/completions", json=body, headers={"x-request-id": name}) as got,
        ):
            return judged(got.status, await got.read(), streams=streams)
    except TimeoutError:
        return (End.LEFT if leaves else End.HUNG), ""
    except (aiohttp.ClientError, OSError) as error:
        return End.CUT, type(error).__name__


def judged(status: int, data: bytes, *, streams: bool) -> tuple[End, str]:
    """What a whole answer is."""
    if status != 200:
        return _error(_error_code(data)) or (End.UNWORDED, str(status))
    if not streams:
        return (End.COMPLETE, "") if b'"finish_reason":"' in data and data.endswith(b"}") else (End.TRUNCATED, "")
    events = data.split(b"\n\n")
    if events[-2:] == [b"data: [DONE]", b""]:
        return End.COMPLETE, ""
    code = _error_code(events[-2].removeprefix(b"data: ")) if len(events) > 1 else None
    return _error(code) or (End.TRUNCATED, "")


def _error(code: str | None) -> tuple[End, str] | None:
    return None if code is None else (End.BROKEN if code == ROUTERS_OWN else End.REFUSED, code)


def _error_code(data: bytes) -> str | None:
    with contextlib.suppress(orjson.JSONDecodeError):
        said = orjson.loads(data)
        if isinstance(said, dict) and isinstance(said.get("error"), dict):
            return str(said["error"].get("code"))
    return None
