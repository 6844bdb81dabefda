"""The circuit breaker of one replica on a clock that the test sets."""

from hypothesis import given
from hypothesis import strategies as st

from router.traffic.breaker import Breaker, Circuit, Tolerance


def opened(now_s: float = 0.0) -> Breaker:
    """A breaker that nothing listening opened."""
    breaker = Breaker(Tolerance(failures=3, backoff_s=1, backoff_max_s=8))
    assert breaker.failed(now_s, at_once=True)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    """An answer between them starts the count anew."""
    breaker = Breaker(Tolerance(failures=3))
    for _ in range(2):
        assert not breaker.failed(0, at_once=False)
    breaker.succeeded()
    for _ in range(2):
        assert not breaker.failed(0, at_once=False)
    assert breaker.well
    assert breaker.failed(0, at_once=False)
    assert (breaker.circuit(0), breaker.well) == (Circuit.OPEN, False)


def test_each_failed_probe_doubles_the_wait_up_to_its_bound() -> None:
    """1, 2, 4, 8, 8 seconds; one good probe starts at 1 again."""
    now_s, breaker = 0.0, opened()
    for wait_s in (1, 2, 4, 8, 8):
        assert breaker.circuit(now_s + wait_s - 0.01) is Circuit.OPEN
        now_s += wait_s
        assert breaker.circuit(now_s) is Circuit.HALF_OPEN
        breaker.probed(now_s, good=False)
    now_s += 8
    breaker.probed(now_s, good=True)
    assert breaker.well
    breaker.failed(now_s, at_once=True)
    assert breaker.circuit(now_s + 1) is Circuit.HALF_OPEN


def test_no_request_goes_out_before_a_probe_was_good() -> None:
    """However long ago it opened."""
    breaker = opened()
    assert breaker.circuit(1000) is Circuit.HALF_OPEN
    assert not breaker.well


def test_requests_that_went_out_before_say_nothing_new() -> None:
    """Their failures do not lengthen the wait, their answers do not end it."""
    breaker = opened()
    for _ in range(5):
        assert not breaker.failed(0.5, at_once=True)
    breaker.succeeded()
    assert [breaker.circuit(now_s) for now_s in (0.99, 1)] == [Circuit.OPEN, Circuit.HALF_OPEN]


def test_waits_in_vain_are_a_suspicion_that_a_probe_decides() -> None:
    """As many in a row as failures open it: requests go out meanwhile; a failed probe opens it, a good one clears."""
    breaker = Breaker(Tolerance(failures=3, backoff_s=1, silent_s=10))
    for good in (True, False):
        for _ in range(3):
            assert not breaker.due(0)
            breaker.unheard(10)
        assert (breaker.due(0), breaker.suspected, breaker.well) == (True, True, True)
        breaker.probed(0, good=good)
        assert breaker.well is good
    assert [breaker.circuit(now_s) for now_s in (0.99, 1)] == [Circuit.OPEN, Circuit.HALF_OPEN]
    assert not breaker.unconnected
    breaker.unheard(10)
    breaker.probed(1, good=True)
    assert (breaker.well, breaker.silences) == (True, 0)


def test_only_long_waits_in_a_row_are_a_suspicion() -> None:
    """What is given up soon says nothing, and a first byte starts the count anew; an answer's end alone does not."""
    breaker = Breaker(Tolerance(failures=2, silent_s=10))
    for _ in range(9):
        breaker.unheard(9.9)
    for _ in range(9):
        breaker.unheard(60)
        breaker.heard()
    assert not breaker.due(0)
    breaker.unheard(60)
    breaker.unheard(60)
    assert breaker.due(0)


def test_a_probe_that_fails_says_nothing_of_an_engine_that_was_heard_meanwhile() -> None:
    """It is busy, and the probe stands behind others."""
    breaker = Breaker(Tolerance(failures=1))
    breaker.unheard(60)
    assert breaker.due(0)
    breaker.heard()
    breaker.probed(30, good=False)
    assert breaker.well
    assert not breaker.due(30)


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "gone"]), st.floats(0, 10)), max_size=40))
def test_it_never_stays_shut_for_good(events: list[tuple[str, float]]) -> None:
    """Whatever happened, the longest back-off later a probe may bring it back."""
    breaker, now_s = Breaker(Tolerance(failures=2, backoff_s=1, backoff_max_s=8)), 0.0
    for kind, after_s in events:
        now_s += after_s
        if breaker.due(now_s) and kind != "gone":
            breaker.probed(now_s, good=kind == "ok")
        elif breaker.well and kind == "gone":
            breaker.unheard(10)
        elif breaker.well and kind == "ok":
            breaker.succeeded()
        elif breaker.well and kind == "fail":
            breaker.failed(now_s, at_once=False)
    assert breaker.circuit(now_s + 8) is not Circuit.OPEN
