"""What `python -m bench.overhead` makes of its rounds."""

from io import StringIO

from rich.console import Console

from bench.overhead.measure import Figures
from bench.overhead.report import account, summary


def _round(p50_ms: float, account_us: dict[str, float]) -> Figures:
    return Figures(p50_ms, 2.0, 800.0, 50_000.0, None, None, None, account_us)


def test_added_time_is_against_the_direct_call_of_the_same_round() -> None:
    """A machine that slows down slows both: the difference stays."""
    direct, ours = [_round(1.0, {"load": 50.0}), _round(2.0, {"load": 50.0})], [_round(2.5, {}), _round(3.5, {})]
    added = summary({"direct": direct, "service-1": ours})["service-1"]["added_p50_ms"]
    assert added == {"median": 1.5, "least": 1.5, "most": 1.5}


def test_the_account_says_what_the_cores_allow() -> None:
    """Every process that works for a request is in it: with 2 ms each, two cores answer 1,000 a second, not more."""
    spent = {"load": 100.0, "engines": 200.0, "proxy": 200.0, "router": 1500.0}
    direct = _round(1.0, {"load": 50.0, "engines": 200.0})
    found = summary({"direct": [direct] * 3, "service-2": [_round(2.0, spent)] * 3})
    assert found["service-2"]["account_us"] == {**spent, "all": 2000.0}
    written = StringIO()
    Console(file=written, width=160).print(account(found, 2))
    (row,) = [line for line in written.getvalue().splitlines() if "service-2" in line]
    assert "1000 requests/s" in row
    assert "8000 requests/s" in written.getvalue()
