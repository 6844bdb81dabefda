"""The gate before a pool: who goes in, who waits, and who is let in when somebody leaves."""

import asyncio

import pytest

from engines.registry import Heartbeat
from policies.choice import Choice, Reason
from policies.request import Request
from router.api.deadline import UNBOUNDED, Deadline
from router.errors import DeadlineExceeded
from router.observe.telemetry import Telemetry
from router.state.marks import Mark
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet, Flight
from router.traffic.gate import Gate
from router.traffic.waiting import Waiting


def gate_before_one_place() -> Gate:
    """A pool whose only engine runs one request at a time."""
    gate = Gate(Fleet(lambda: 0.0, 5.0, Tolerance()), Waiting(9, 5, {}), 1.0, Telemetry())
    announce(gate, 0.0, max_running=1)
    return gate


def announce(gate: Gate, clock_s: float, **facts: object) -> None:
    """The pool's engine says how it is, alone or beside one of another pool."""
    beat = {"replica": "a", "pool": "p", "model": "m", "target": "t", "url": "http://a", "clock_s": clock_s}
    gate.fleet.update([Heartbeat.model_validate({**beat, **facts})])


def enter(gate: Gate) -> Flight:
    """A request goes in."""
    (replica,) = gate.fleet.replicas("m")
    return gate.fleet.begin(Choice(engine=replica, k=0, reason=Reason.FASTEST), Request("m"))


class Crowd:
    """Requests that wait before a full pool and go in, if `enters`, as soon as it is their turn.

    `together` counts, at the first one's turn, those that had theirs in the same moment.
    """

    def __init__(self, gate: Gate, size: int, *, enters: bool = True) -> None:
        """They come one after the other."""
        self.gate, self.enters, self.together, self.inside = gate, enters, 0, 0
        self.tasks = [asyncio.create_task(self._come()) for _ in range(size)]

    async def _come(self) -> None:
        await self.gate.wait("p", "default", self.gate.waiting.place(), UNBOUNDED)
        self.together = self.together or self.gate.waiting.lines["p"].called + 1
        self.inside += 1
        if self.enters:
            enter(self.gate)

    async def settled(self) -> int:
        """How many are inside, those having acted whose turn has come."""
        for _ in range(3):
            await asyncio.sleep(0)
        return self.inside

    async def sent_home(self) -> None:
        """The others leave."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_who_leaves_lets_the_next_one_in_at_once() -> None:
    """And a newcomer goes behind those that wait, also where there is room for it."""
    gate = gate_before_one_place()
    assert gate.open("p")
    flight = enter(gate)
    assert not gate.open("p")
    waits = asyncio.create_task(gate.wait("p", "default", gate.waiting.place(), UNBOUNDED))
    await asyncio.sleep(0)
    gate.fleet.end(flight)
    assert not gate.open("p")
    gate.left("p")
    assert not gate.open("p")  # it has its turn, and has not gone in yet
    await asyncio.wait_for(waits, 1)
    assert gate.open("p")


async def test_nobody_is_let_in_while_the_pool_is_full() -> None:
    """One of two leaves, and the pool still holds as many as it may."""
    gate = gate_before_one_place()
    flights = [enter(gate), enter(gate)]
    waits = asyncio.create_task(gate.wait("p", "default", gate.waiting.place(), UNBOUNDED))
    await asyncio.sleep(0)
    gate.fleet.end(flights[0])
    gate.left("p")
    await asyncio.sleep(0)
    assert not waits.done()
    gate.fleet.end(flights[1])
    gate.left("p")
    await asyncio.wait_for(waits, 1)


async def test_all_that_there_is_room_for_are_let_in_at_once() -> None:
    """Where many places come free together, one completion or one look at the engines fills them, and no more."""
    gate = gate_before_one_place()
    announce(gate, 1.0, max_running=8, running=8)
    crowd = Crowd(gate, 9)
    await asyncio.sleep(0)
    gate.left("p")
    assert await crowd.settled() == 0
    announce(gate, 2.0, max_running=8, running=5)
    gate.left("p")
    gate.left("p")
    assert (await crowd.settled(), crowd.together) == (3, 3)
    gate.left("p")
    assert await crowd.settled() == 3, "they have gone in: the pool is full again"
    await crowd.sent_home()
    assert not gate.waiting.anyone("p")


@pytest.mark.parametrize("change", ["its requests end", "it holds more", "another one comes"])
async def test_room_that_nobody_of_this_router_left_is_filled_at_once(change: str) -> None:
    """The next look at the engines lets in all that there is room for, not one of them."""
    gate = gate_before_one_place()
    announce(gate, 1.0, max_running=8, running=8)
    crowd = Crowd(gate, 8, enters=False)
    watching = asyncio.create_task(gate.watch(0))
    assert await crowd.settled() == 0
    facts: dict[str, dict[str, object]] = {
        "its requests end": {"max_running": 8, "running": 0},
        "it holds more": {"max_running": 16, "running": 8},
        "another one comes": {"replica": "b", "max_running": 8},
    }
    announce(gate, 2.0, **facts[change])
    await asyncio.wait_for(asyncio.gather(*crowd.tasks), 5)
    watching.cancel()
    assert crowd.together == 8


@pytest.mark.parametrize("why", ["drained", "gone", "fails", "reloads"])
async def test_nobody_waits_for_a_pool_that_takes_nobody(why: str) -> None:
    """All that wait are decided anew, though no place has come free and nobody will leave."""
    gate = gate_before_one_place()
    enter(gate)
    crowd = Crowd(gate, 5, enters=False)
    watching = asyncio.create_task(gate.watch(0))
    assert await crowd.settled() == 0
    if why == "drained":
        gate.fleet.marks = {"a": Mark("drain", "me", 0.0)}
    elif why == "gone":
        gate.fleet._entries.clear()
    elif why == "fails":
        for _ in range(Tolerance().failures):
            gate.fleet.endpoint("a").breaker.failed(0.0, at_once=False)
    else:
        announce(gate, 1.0, max_running=1, state="draining")
    await asyncio.wait_for(asyncio.gather(*crowd.tasks), 5)
    watching.cancel()


async def test_a_wait_ends_with_the_client_s_time() -> None:
    """As a 504 and not a 429: it was the client that could not wait longer."""
    gate = gate_before_one_place()
    enter(gate)
    until = Deadline(asyncio.get_running_loop().time() + 0.01, 10)
    with pytest.raises(DeadlineExceeded):
        await gate.wait("p", "default", gate.waiting.place(), until)
    assert not gate.waiting.anyone("p")
