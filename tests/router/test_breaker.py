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


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "gone"]), st.floats(0, 10)), max_size=40))
def test_it_never_stays_shut_for_good(events: list[tuple[str, float]]) -> None:
    """Whatever happened, the longest back-off later a probe may bring it back."""
    breaker, now_s = Breaker(Tolerance(failures=2, backoff_s=1, backoff_max_s=8)), 0.0
    for kind, after_s in events:
        now_s += after_s
        if breaker.circuit(now_s) is Circuit.HALF_OPEN and kind != "gone":
            breaker.probed(now_s, good=kind == "ok")
        elif breaker.well and kind == "ok":
            breaker.succeeded()
        elif breaker.well and kind == "fail":
            breaker.failed(now_s, at_once=False)
    assert breaker.circuit(now_s + 8) is not Circuit.OPEN
