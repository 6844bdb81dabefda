"""How work of minutes tells what it is doing: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Report = Callable[[str, int, int], None]
"""Told `(stage, steps done, steps in all)` after each step."""

_LINE_EVERY_S = 15.0


def silent(stage: str, done: int, total: int) -> None:
    """A report that goes nowhere."""


@contextmanager
def reporting(stream: TextIO | None = None, of: str = "demo pair") -> Iterator[Report]:
    """A report drawn on `stream`, stderr unless given: a bar per stage on a terminal, else plain lines at most every
    fifteen seconds, which say what they are `of`."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lines_to(stream, time.monotonic, of)
        return
    with _bars(stream) as draw:
        yield draw


@contextmanager
def _bars(stream: TextIO) -> Iterator[Report]:
    from rich import progress as rich  # a built pair is found faster than this imports
    from rich.console import Console

    timing = (rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), *timing)
    with rich.Progress(*columns, console=Console(file=stream)) as drawing:
        bars: dict[str, rich.TaskID] = {}

        def draw(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = drawing.add_task(stage, total=total)
            drawing.update(bars[stage], completed=done)

        yield draw


def lines_to(stream: TextIO, clock: Callable[[], float], of: str = "demo pair") -> Report:
    """A report that writes the first and last step of a stage and one line every fifteen seconds of `clock`."""
    started: dict[str, float] = {}
    last_line = clock()

    def write(stage: str, done: int, total: int) -> None:
        nonlocal last_line
        now = clock()
        first = stage not in started
        started.setdefault(stage, now)
        if not first and done < total and now - last_line < _LINE_EVERY_S:
            return
        last_line = now
        left_s = (now - started[stage]) / max(1, done) * (total - done)
        ending = "done" if done == total else f"about {left_s:.0f} s left" if not first else "started"
        print(f"{of}: {stage} {done}/{total}, {ending}", file=stream, flush=True)

    return write
