"""A time-out that does not blame others for an event loop which stood still; the tests hold the loop up themselves."""

import asyncio
import time

import pytest
from held_up import held_up

from router.traffic.running_time import RunningTime


async def test_nothing_takes_longer_than_the_limit() -> None:
    """On a loop that runs: TimeoutError, and not before its time."""
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        async with RunningTime(0.08):
            await asyncio.Event().wait()
    assert time.monotonic() - began_s >= 0.08


async def test_time_in_which_the_loop_stood_still_does_not_count() -> None:
    """Three times the limit in which nothing was looked at."""
    async with RunningTime(0.2):
        await held_up(6, 0.1)


async def test_a_loop_that_never_catches_up_is_not_waited_for() -> None:
    """There is an end all the same."""
    with pytest.raises(TimeoutError):
        async with RunningTime(0.02):
            await held_up(1000, 0.01)


async def test_what_is_done_in_time_leaves_no_timer_behind() -> None:
    """Nobody is cancelled later."""
    async with RunningTime(0.01):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            async with RunningTime(0.04):
                await asyncio.Event().wait()
