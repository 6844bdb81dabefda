"""The file of lines where the machine refuses it."""

import errno
import os
from pathlib import Path

import pytest

from classifiers.line_file import LineFile


def test_a_full_file_that_cannot_be_followed_is_closed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told; closing a number twice would close what another thread has just opened."""
    file = LineFile(tmp_path / "f", 100)
    file.append(b"x" * 90 + b"\n")
    opened, closed = os.open, os.close
    opens, closes = list[int](), list[int]()

    def opening(path: Path, flags: int, mode: int) -> int:
        if opens:
            raise OSError(errno.EMFILE, "Too many open files")
        opens.append(opened(path, flags, mode))
        return opens[-1]

    def closing(number: int) -> None:
        closes.append(number)
        closed(number)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "close", closing)
    with pytest.raises(OSError, match="Too many"):
        file.append(b"y" * 90 + b"\n")
    assert closes == opens
