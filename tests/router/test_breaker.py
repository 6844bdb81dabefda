"""The circuit breaker of one replica on a clock that the test sets."""

from hypothesis import given
from hypothesis import strategies as st

from router.traffic.breaker import Breaker, Circuit, Tolerance


def opened(now_s: float = 0.0) -> Breaker:
    """A breaker that nothing listening opened."""
    breaker = Breaker(Tolerance(failures=3, backoff_s=1, backoff_max_s=8))
    assert breaker.failed(now_s, at_once=True, trial=breaker.goes_out())
    return breaker


def test_failures_in_a_row_open_it() -> None:
    """An answer between them starts the count anew."""
    breaker = Breaker(Tolerance(failures=3))
    for _ in range(2):
        assert not breaker.failed(0, at_once=False, trial=False)
    assert not breaker.succeeded(trial=False)
    for _ in range(2):
        assert not breaker.failed(0, at_once=False, trial=False)
    assert breaker.failed(0, at_once=False, trial=False)
    assert (breaker.circuit(0), breaker.admits(0)) == (Circuit.OPEN, False)


def test_each_failed_trial_doubles_the_wait_up_to_its_bound() -> None:
    """1, 2, 4, 8, 8 seconds; one good trial starts at 1 again."""
    now_s, breaker = 0.0, opened()
    for wait_s in (1, 2, 4, 8, 8):
        assert not breaker.admits(now_s + wait_s - 0.01)
        now_s += wait_s
        assert breaker.admits(now_s)
        trial = breaker.goes_out()
        assert trial
        assert breaker.failed(now_s, at_once=False, trial=trial)
    now_s += 8
    assert breaker.succeeded(trial=breaker.goes_out())
    breaker.failed(now_s, at_once=True, trial=False)
    assert breaker.admits(now_s + 1)


def test_one_trial_at_a_time() -> None:
    """Others keep away until it has ended, also where its client left and it told nothing."""
    breaker = opened()
    assert breaker.circuit(1) == Circuit.HALF_OPEN
    trial = breaker.goes_out()
    assert not breaker.admits(1)
    breaker.came_to_nothing(trial=trial)
    assert breaker.admits(1)


def test_requests_that_went_out_before_say_nothing_new() -> None:
    """Their failures do not lengthen the wait, their answers do not end it."""
    breaker = opened()
    for _ in range(5):
        assert not breaker.failed(0.5, at_once=True, trial=False)
    assert not breaker.succeeded(trial=False)
    assert (breaker.admits(0.99), breaker.admits(1)) == (False, True)


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "gone"]), st.floats(0, 10)), max_size=40))
def test_it_never_stays_shut_for_good(events: list[tuple[str, float]]) -> None:
    """Whatever happened, the longest back-off later a request may go out."""
    breaker, now_s = Breaker(Tolerance(failures=2, backoff_s=1, backoff_max_s=8)), 0.0
    for kind, after_s in events:
        now_s += after_s
        if not breaker.admits(now_s):
            continue
        trial = breaker.goes_out()
        if kind == "ok":
            breaker.succeeded(trial=trial)
        elif kind == "fail":
            breaker.failed(now_s, at_once=False, trial=trial)
        else:
            breaker.came_to_nothing(trial=trial)
    assert breaker.admits(now_s + 8)
