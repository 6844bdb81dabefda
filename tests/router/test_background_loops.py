"""Loops over Redis: they end when they are cancelled, whatever the client makes of it, and by nothing else."""

import asyncio
import logging
from collections.abc import Mapping

import pytest

from policies.keys import Key
from policies.knowledge import Knowledge
from policies.records import Record
from router.admin.trend import SLOT_S, MemoryTrend, Point, Trend
from router.observe.pages import MemoryBoard, Pages, Posted
from router.observe.telemetry import Telemetry
from router.state.store import StoreError

RECORD = {Key("demo@1", "small", "sql_generation", "default", "0").encode(): Record({"s1": 8, "e1": 10, "n": 1}, 0.0)}


class Slow:
    """A call that takes for ever; its cancellation becomes an error of its own, as in redis-py at a time-out."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def call(self) -> None:
        """Wait, and swallow."""
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StoreError("Timeout reading from socket") from None


class SlowBoard(Slow, MemoryBoard):
    """Where metrics pages are posted."""

    def __init__(self) -> None:
        Slow.__init__(self)
        MemoryBoard.__init__(self)

    async def post(self, router: str, posted: Posted) -> None:
        """See Board."""
        await self.call()


class SlowTrend(Slow, MemoryTrend):
    """Where acceptance over time is written."""

    def __init__(self) -> None:
        Slow.__init__(self)
        MemoryTrend.__init__(self)

    async def put(self, slot: int, points: Mapping[str, Point]) -> None:
        """See TrendStore."""
        await self.call()


def knowing() -> Knowledge:
    """Knowledge with something to write down."""
    knowledge = Knowledge()
    knowledge.install(RECORD, 0.0)
    return knowledge


@pytest.mark.parametrize("name", ["pages", "trend"])
async def test_a_swallowed_cancellation_still_ends_the_loop(name: str) -> None:
    """A router that stops waits for its loops: one that went on would keep it for ever."""
    slow: Slow
    if name == "pages":
        slow = board = SlowBoard()
        running = asyncio.create_task(Pages("r", Telemetry(), board).run())
    else:
        slow = store = SlowTrend()
        running = asyncio.create_task(Trend(store, knowing(), lambda: SLOT_S - 0.001).run())
    await asyncio.wait_for(slow.asked.wait(), 5)
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=5)
    assert done


async def test_a_fault_costs_a_minute_of_acceptance(caplog: pytest.LogCaptureFixture) -> None:
    """It is told, and the next minute is written."""
    written = asyncio.Event()

    class Faulty(MemoryTrend):
        async def put(self, slot: int, points: Mapping[str, Point]) -> None:
            if not caplog.records:
                raise ValueError("not a number")
            written.set()

    with caplog.at_level(logging.ERROR, logger="alpharoute.trend"):
        running = asyncio.create_task(Trend(Faulty(), knowing(), lambda: SLOT_S - 0.001).run())
        await asyncio.wait_for(written.wait(), 5)
    running.cancel()
    assert "not written" in caplog.text
