"""What a build says where no terminal can draw a bar."""

from io import StringIO

import pytest

from engines.progress import lines_to, reporting


def test_plain_lines_are_few_and_tell_the_time_left() -> None:
    """One line at the start, one every fifteen seconds with an estimate, one at the end."""
    out, now = StringIO(), 0.0
    report = lines_to(out, lambda: now)
    for step in range(1, 101):
        report("training the draft", step, 100)
        now += 1.0
    lines = out.getvalue().splitlines()
    assert lines[0] == "demo pair: training the draft 1/100, started"
    assert lines[1] == "demo pair: training the draft 16/100, about 79 s left"
    assert lines[-1] == "demo pair: training the draft 100/100, done"
    assert len(lines) == 8


def test_every_stage_is_announced() -> None:
    """A stage that starts within fifteen seconds of another still gets its first line."""
    out = StringIO()
    report = lines_to(out, lambda: 0.0)
    for stage in ("first", "second"):
        report(stage, 1, 2)
    assert out.getvalue().splitlines() == ["demo pair: first 1/2, started", "demo pair: second 1/2, started"]


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    """In a log file there are no control characters."""
    out = StringIO()
    with reporting(out) as report:
        report("training the draft", 1, 1)
    assert out.getvalue() == "demo pair: training the draft 1/1, done\n"


def test_lines_say_what_they_are_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Other work of minutes names itself, on the error stream as it is now."""
    with reporting(of="calibrate") as report:
        report("batches", 0, 8)
    assert capsys.readouterr() == ("", "calibrate: batches 0/8, started\n")


def test_a_terminal_gets_a_bar() -> None:
    """On a terminal the stage is drawn with its count and its time."""

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with reporting(out) as report:
        report("training the draft", 1, 2)
        report("training the draft", 2, 2)
    assert "training the draft" in out.getvalue()
    assert "2/2" in out.getvalue()
