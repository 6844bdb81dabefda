"""The gate before a pool: who goes in, who waits, and who is let in when somebody leaves."""

import asyncio

import pytest

from engines.registry import Heartbeat
from policies.choice import Choice, Reason
from policies.request import Request
from router.api.deadline import UNBOUNDED, Deadline
from router.errors import DeadlineExceeded
from router.observe.telemetry import Telemetry
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet, Flight
from router.traffic.gate import Gate
from router.traffic.waiting import Waiting


def gate_before_one_place() -> Gate:
    """A pool whose only engine runs one request at a time."""
    fleet = Fleet(lambda: 0.0, 5.0, Tolerance())
    fleet.update([Heartbeat(replica="a", pool="p", model="m", target="t", url="http://a", max_running=1)])
    return Gate(fleet, Waiting(4, 5, {}), 1.0, Telemetry())


def enter(gate: Gate) -> Flight:
    """A request goes in."""
    (replica,) = gate.fleet.replicas("m")
    return gate.fleet.begin(Choice(engine=replica, k=0, reason=Reason.FASTEST), Request("m"))


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


async def test_a_wait_ends_with_the_client_s_time() -> None:
    """As a 504 and not a 429: it was the client that could not wait longer."""
    gate = gate_before_one_place()
    enter(gate)
    until = Deadline(asyncio.get_running_loop().time() + 0.01, 10)
    with pytest.raises(DeadlineExceeded):
        await gate.wait("p", "default", gate.waiting.place(), until)
    assert not gate.waiting.anyone("p")
