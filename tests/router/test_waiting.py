"""The queue before a full pool: its order, its bounds, and what those are told that find no place."""

import asyncio
import math

import pytest

from router.errors import Overloaded
from router.traffic.waiting import Place, Waiting


async def joined(waiting: Waiting, order: list[str], segment: str, place: Place | None = None) -> "asyncio.Task[None]":
    """Somebody in the line who writes its name when its turn has come."""

    given = place or waiting.place()

    async def wait() -> None:
        await waiting.join("p", segment, given, 0.0)
        order.append(segment)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return task


async def test_the_more_important_go_first_and_equals_in_order() -> None:
    """Priority by segment, 0 for one that has none."""
    waiting, order = Waiting(9, 5, {"gold": 5, "batch": -5}), list[str]()
    tasks = [await joined(waiting, order, name) for name in ("batch", "plain", "gold", "other", "gold")]
    for _ in tasks:
        waiting.wake("p", 1)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["gold", "gold", "plain", "other", "batch"]
    assert not waiting.anyone("p")


async def test_a_full_line_turns_away_the_least_important() -> None:
    """A newcomer of the same priority is refused; a more important one takes the last one's place."""
    waiting, order = Waiting(2, 5, {"gold": 5}), list[str]()
    first, last = await joined(waiting, order, "a"), await joined(waiting, order, "b")
    with pytest.raises(Overloaded) as refused:
        await waiting.join("p", "c", waiting.place(), 0.0)
    assert 1 <= int(refused.value.headers["retry-after"]) <= 60
    gold = await joined(waiting, order, "gold")
    with pytest.raises(Overloaded):
        await last
    waiting.wake("p", 1)
    await gold
    waiting.wake("p", 1)
    await first
    assert order == ["gold", "a"]


async def test_who_was_called_in_vain_keeps_its_place() -> None:
    """It waits on with its number, in front of those that came after it."""
    waiting, order = Waiting(9, 5, {}), list[str]()
    place = waiting.place()
    later = await joined(waiting, order, "later")
    again = await joined(waiting, order, "again", place)
    for _ in range(2):
        waiting.wake("p", 1)
        await asyncio.sleep(0)
    await asyncio.gather(later, again)
    assert order == ["again", "later"]


async def test_a_wait_has_an_end() -> None:
    """After `wait_s` it is a 429, and nobody is left in the line."""
    waiting = Waiting(2, 0.01, {})
    with pytest.raises(Overloaded):
        await waiting.join("p", "a", waiting.place(), 0.0)
    assert not waiting.anyone("p")


async def test_as_many_have_their_turn_as_there_are_places() -> None:
    """Those counted in who have theirs already, and have not acted on it yet."""
    waiting, order = Waiting(9, 5, {}), list[str]()
    tasks = [await joined(waiting, order, name) for name in "abcdefg"]
    waiting.wake("p", 3)
    waiting.wake("p", 3)
    waiting.wake("p", 4)
    await asyncio.gather(*tasks[:4])
    assert order == [*"abcd"]
    waiting.wake("p", 1)
    waiting.wake("p", math.inf)
    await asyncio.gather(*tasks)
    assert order == [*"abcdefg"]
    assert not waiting.anyone("p")


async def test_one_that_left_is_passed_over() -> None:
    """A turn is never given to a client that is gone, also where both happen in one step of the loop."""
    waiting, order = Waiting(9, 5, {}), list[str]()
    gone, stays = await joined(waiting, order, "gone"), await joined(waiting, order, "stays")
    gone.cancel()
    waiting.wake("p", 1)
    await asyncio.wait({gone, stays}, timeout=5)
    assert (gone.cancelled(), order) == (True, ["stays"])


async def test_the_time_to_come_back_follows_from_how_fast_requests_leave() -> None:
    """Ten waiting and one leaving each second are about eleven seconds."""
    waiting, order = Waiting(10, 5, {}), list[str]()
    for second in range(300):
        waiting.note_left("p", float(second))
    tasks = [await joined(waiting, order, "a") for _ in range(10)]
    assert 10 <= waiting.lines["p"].retry_after_s(299.0) <= 12
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_turns_in_vain_do_not_lengthen_a_wait() -> None:
    """Who finds no room again and again gets its 429 after `wait_s` from when it first stood in line."""
    waiting, turns = Waiting(2, 0.05, {}), 0

    async def in_vain() -> None:
        nonlocal turns
        place = waiting.place()
        while True:
            await waiting.join("p", "a", place, 0.0)
            turns += 1

    async def calls() -> None:
        while True:
            await asyncio.sleep(0.005)
            waiting.wake("p", 1)

    calling = asyncio.create_task(calls())
    with pytest.raises(Overloaded):
        await asyncio.wait_for(in_vain(), 5)
    calling.cancel()
    assert turns > 0


async def test_no_line_is_too_long_for_one_that_had_its_turn() -> None:
    """Younger ones may have filled the line meanwhile: it stands in front of them."""
    waiting, order = Waiting(1, 5, {}), list[str]()
    place = waiting.place()
    called = await joined(waiting, order, "called", place)
    waiting.wake("p", 1)
    await called
    younger = await joined(waiting, order, "younger")
    again = await joined(waiting, order, "again", place)
    for _ in range(2):
        waiting.wake("p", 1)
        await asyncio.sleep(0)
    await asyncio.gather(again, younger)
    assert order == ["called", "again", "younger"]


async def test_nobody_overtakes_one_whose_turn_has_come() -> None:
    """Until it has acted on its turn, or left, a newcomer belongs behind it."""
    waiting, order = Waiting(9, 5, {}), list[str]()
    for leaves in (False, True):
        called = await joined(waiting, order, "called")
        waiting.wake("p", 1)
        if leaves:
            called.cancel()
        assert waiting.anyone("p")
        await asyncio.wait({called}, timeout=5)
        assert not waiting.anyone("p")
