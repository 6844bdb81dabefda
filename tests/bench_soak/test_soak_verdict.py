"""What a soak says of requests, engines' lines and memory; and what a client takes an answer for."""

import pytest

from bench.soak.clients import End, Ended, judged
from bench.soak.faults import Fault
from bench.soak.verdict import Sample, checks, lost, memory_growth, unexplained

DONE = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'
ERROR = b'{"error":{"message":"m","type":"t","param":null,"code":"engine_lost"}}'


@pytest.mark.parametrize(
    ("status", "data", "streams", "end"),
    [
        (200, DONE, True, End.COMPLETE),
        (200, b"data: {}\n\ndata: " + ERROR + b"\n\n", True, End.REFUSED),
        (200, b"data: {}\n\n", True, End.TRUNCATED),
        (200, b"", True, End.TRUNCATED),
        (200, b'{"choices":[{"finish_reason":"stop"}]}', False, End.COMPLETE),
        (200, b'{"choices":[{"finish_reason":"stop"', False, End.TRUNCATED),
        (502, ERROR, True, End.REFUSED),
        (503, b"<html>No server</html>", False, End.UNWORDED),
        (500, ERROR.replace(b"engine_lost", b"internal_error"), False, End.BROKEN),
    ],
)
def test_an_answer_is_taken_for_what_it_is(status: int, data: bytes, streams: bool, end: End) -> None:
    """Only a whole answer is complete, only an error object is a refusal."""
    assert judged(status, data, streams=streams)[0] is end


def test_a_broken_connection_is_excused_only_by_a_killed_router() -> None:
    """A cut is clear where the router had just died; a hang or half an answer never is."""
    faults = [Fault("router killed", "1", 100.0), Fault("engine killed", "e", 300.0)]
    ended = [
        Ended("after", End.CUT, 101.0),
        Ended("before", End.CUT, 99.0),
        Ended("engine", End.CUT, 301.0),
        Ended("hung", End.HUNG, 102.0),
        Ended("half", End.TRUNCATED, 102.0),
        Ended("bug", End.BROKEN, 102.0, "internal_error"),
        Ended("fine", End.REFUSED, 500.0),
    ]
    assert [one.name for one in lost(ended, faults)] == ["before", "engine", "hung", "half", "bug"]


def test_a_refusal_is_explained_only_by_the_fault_it_follows() -> None:
    """An answer is lost with its engine; that there is none, or no room, no fault of a soak makes true."""
    faults = [Fault("engine killed", "e", 100.0), Fault("router killed", "1", 300.0)]
    ended = [
        Ended("lost", End.REFUSED, 101.0, "engine_lost"),
        Ended("early", End.REFUSED, 99.0, "engine_lost"),
        Ended("router", End.REFUSED, 301.0, "engine_lost"),
        Ended("none", End.REFUSED, 101.0, "no_engine"),
        Ended("full", End.REFUSED, 301.0, "pool_full"),
        Ended("cut", End.CUT, 301.0),
        Ended("with its router", End.REFUSED, 301.0, "router_lost"),
        Ended("with none", End.REFUSED, 101.0, "router_lost"),
    ]
    assert [one.name for one in unexplained(ended, faults)] == ["early", "router", "none", "full", "with none"]


def test_each_claim_fails_for_its_own_reason() -> None:
    """Two engines that served one request, an answer nobody gave, a request nobody waits for, memory that grows."""
    ended = [Ended("a", End.COMPLETE, 1.0), Ended("b", End.COMPLETE, 1.0)]
    fine = ["begin a", "begin a", "served a", "begin b", "served b"]
    assert all(check.held for check in checks(ended, [], fine, 0, []))
    grown = [Sample(1, float(i), 100.0 + i) for i in range(50)]
    broken = checks(ended, [], ["served a", "served a"], 1, grown)
    assert [check.held for check in broken] == [True, True, False, False, False, False]


def test_memory_is_judged_after_warm_up_and_per_process() -> None:
    """What a process allocates at first is no growth, nor is another process that is larger."""
    warm = [Sample(1, float(i), min(200.0, 100.0 + 10 * i)) for i in range(60)]
    other = [Sample(2, 60.0 + i, 400.0) for i in range(60)]
    assert memory_growth([*warm, *other]) == pytest.approx(0.0)
    assert memory_growth([Sample(1, 0.0, 1.0), Sample(1, 1.0, 9.0)]) == 0.0
