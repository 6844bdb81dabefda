"""How long a client will wait, as its header and the operator say."""

import pytest

from router.api.deadline import TIMEOUT, deadline
from router.errors import BadRequest, ClientDeadlineExceeded, DeadlineExceeded


def test_the_smaller_of_both_bounds_holds() -> None:
    """The client's header cannot lengthen what the operator allows."""
    assert deadline({}, 10, 100.0).at_s == 110
    assert deadline({TIMEOUT: " 250 "}, 10, 100.0).at_s == pytest.approx(100.25)
    assert deadline({TIMEOUT: "999999999"}, 10, 100.0).at_s == 110


def test_what_is_left_is_counted_down_and_then_refused() -> None:
    """The message names what was granted and by what."""
    until = deadline({TIMEOUT: "1000"}, 10, 100.0)
    assert until.left_ms(100.25) == 750
    assert until.left_ms(100.9999) == 1
    with pytest.raises(DeadlineExceeded, match=r"within 1000 ms \(x-request-timeout-ms"):
        until.left_ms(101.0)


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "soon", "", "٣", "1" * 40])
def test_what_is_no_number_of_milliseconds_is_named(given: str) -> None:
    """A 400 that shows the header and its value."""
    with pytest.raises(BadRequest, match=TIMEOUT):
        deadline({TIMEOUT: given}, 10, 0.0)


@pytest.mark.parametrize(("asked", "of_client"), [({"x-request-timeout-ms": "999"}, True), ({}, False)])
def test_whose_time_ran_out_is_known(asked: dict[str, str], of_client: bool) -> None:
    """The operator's bound is a fault to be told of; a client that asked for less got what it asked for."""
    assert isinstance(deadline(asked, 1, 0).exceeded(), ClientDeadlineExceeded) is of_client
    assert not isinstance(deadline({"x-request-timeout-ms": "5000"}, 1, 0).exceeded(), ClientDeadlineExceeded)
