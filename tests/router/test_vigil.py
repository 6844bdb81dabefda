"""How long an engine's next bytes may take, watched by one timer."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from router.api.deadline import UNBOUNDED, Deadline
from router.errors import DeadlineExceeded, EngineTimeout
from router.traffic.vigil import Vigil


def _content() -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    return aiohttp.StreamReader(protocol, 2**16, loop=loop)


async def _read(content: aiohttp.StreamReader, vigil: Vigil, wait_s: float) -> bytes:
    with vigil.within(wait_s):
        return await content.readany()


async def test_silence_ends_a_wait() -> None:
    """At its own time or at the client's deadline, whichever is first, also after waits that were longer."""
    content = _content()
    vigil = Vigil(content, UNBOUNDED)
    content.feed_data(b"one")
    assert await _read(content, vigil, 600) == b"one"
    with pytest.raises(EngineTimeout):
        await _read(content, vigil, 0.001)
    content = _content()
    soon = Deadline(asyncio.get_running_loop().time() + 0.001, 1)
    with pytest.raises(DeadlineExceeded):
        await _read(content, Vigil(content, soon), 600)


async def test_a_stream_of_chunks_sets_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many chunks there are; it is gone with the answer."""
    loop, set_at = asyncio.get_running_loop(), list[float]()
    call_at = loop.call_at

    def counted(when: float, callback: Callable[..., Any], *args: Any, **named: Any) -> asyncio.TimerHandle:
        set_at.append(when)
        return call_at(when, callback, *args, **named)

    monkeypatch.setattr(loop, "call_at", counted)
    content = _content()
    vigil = Vigil(content, UNBOUNDED)
    for number in range(100):
        loop.call_soon(content.feed_data, b"%d" % number)
        assert await _read(content, vigil, 600) == b"%d" % number
    assert len(set_at) == 1
    vigil.end()
    assert vigil._timer is None


async def test_a_timer_of_an_earlier_wait_does_not_end_a_later_one() -> None:
    """It rings while nobody waits, and in the middle of a later wait: each time it is set anew."""
    content, loop = _content(), asyncio.get_running_loop()
    vigil = Vigil(content, UNBOUNDED)
    content.feed_data(b"one")
    await _read(content, vigil, 0.001)
    rang = asyncio.Event()
    loop.call_later(0.005, rang.set)
    await rang.wait()
    loop.call_soon(content.feed_data, b"two")
    assert await _read(content, vigil, 0.005) == b"two"
    loop.call_later(0.02, content.feed_data, b"three")
    assert await _read(content, vigil, 60) == b"three"
    assert vigil._rings_s > loop.time() or math.isinf(vigil._rings_s)
    vigil.end()
