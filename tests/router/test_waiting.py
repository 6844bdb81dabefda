"""The queue before a full pool: its order, its bounds, and what those are told that find no place."""

import asyncio

import pytest

from router.errors import Overloaded
from router.traffic.waiting import Waiting


async def joined(waiting: Waiting, order: list[str], segment: str, number: int | None = None) -> "asyncio.Task[None]":
    """Somebody in the line who writes its name when its turn has come."""

    given = waiting.number() if number is None else number

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
        waiting.wake("p")
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["gold", "gold", "plain", "other", "batch"]
    assert not waiting.anyone("p")


async def test_a_full_line_turns_away_the_least_important() -> None:
    """A newcomer of the same priority is refused; a more important one takes the last one's place."""
    waiting, order = Waiting(2, 5, {"gold": 5}), list[str]()
    first, last = await joined(waiting, order, "a"), await joined(waiting, order, "b")
    with pytest.raises(Overloaded) as refused:
        await waiting.join("p", "c", 9, 0.0)
    assert 1 <= int(refused.value.headers["retry-after"]) <= 60
    gold = await joined(waiting, order, "gold")
    with pytest.raises(Overloaded):
        await last
    waiting.wake("p")
    await gold
    waiting.wake("p")
    await first
    assert order == ["gold", "a"]


async def test_who_was_called_in_vain_keeps_its_place() -> None:
    """It waits on with its number, in front of those that came after it."""
    waiting, order = Waiting(9, 5, {}), list[str]()
    number = waiting.number()
    later = await joined(waiting, order, "later")
    again = await joined(waiting, order, "again", number)
    for _ in range(2):
        waiting.wake("p")
        await asyncio.sleep(0)
    await asyncio.gather(later, again)
    assert order == ["again", "later"]


async def test_a_wait_has_an_end() -> None:
    """After `wait_s` it is a 429, and nobody is left in the line."""
    waiting = Waiting(2, 0.01, {})
    with pytest.raises(Overloaded):
        await waiting.join("p", "a", 1, 0.0)
    assert not waiting.anyone("p")


async def test_one_that_left_is_passed_over() -> None:
    """A turn is never given to a client that is gone, also where both happen in one step of the loop."""
    waiting, order = Waiting(9, 5, {}), list[str]()
    gone, stays = await joined(waiting, order, "gone"), await joined(waiting, order, "stays")
    gone.cancel()
    waiting.wake("p")
    await asyncio.wait({gone, stays}, timeout=1)
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
