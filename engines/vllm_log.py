"""What vLLM's log tells: the phases of its start, and its last lines."""

import codecs
from collections import deque
from pathlib import Path
from typing import TextIO

KEPT_LINES = 200

PHASES = (
    ("Resolved architecture", "configuring"),
    ("Starting to load model", "loading the target"),
    ("Loading drafter model", "loading the drafter"),
    ("torch.compile takes", "compiling"),
    ("Dynamo bytecode transform", "compiling"),
    ("KV cache size", "allocating the KV cache"),
    ("Capturing CUDA graphs", "capturing CUDA graphs"),
    ("init engine", "starting the server"),
    ("Application startup complete", "serving"),
)
"""(text in a line of vLLM 0.32's log, the phase it begins)."""

NOISE = ("nanobind:", " - leaked ", " - ... skipped remainder", "   See https://nanobind")
"""Beginnings of lines that any vLLM process prints by the hundred as it ends, burying what it died of."""

PORT_TAKEN = ("address already in use", "Address already in use")


def phase_of(line: str) -> str | None:
    """The phase that `line` begins, if any."""
    return next((phase for text, phase in PHASES if text in line), None)


class LogTail:
    """Splits output into lines, keeps the last `KEPT_LINES` and writes all of it to a file if one is given."""

    def __init__(self, file: Path | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._partial = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._file: TextIO | None = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = file.open("a", encoding="utf-8", buffering=1)

    def feed(self, chunk: bytes) -> list[str]:
        """Take output as it comes; the lines it completed. Progress bars' carriage returns count as line ends."""
        text = self._partial + self._decoder.decode(chunk).replace("\r", "\n")
        *complete, self._partial = text.split("\n")
        if self._file is not None:
            self._file.writelines(f"{line}\n" for line in complete)
        self.lines.extend(line for line in complete if line.strip() and not line.startswith(NOISE))
        return complete

    def close(self) -> None:
        """Take the last, unfinished line and close the file."""
        if self._partial:
            self.feed(b"\n")
        if self._file is not None:
            self._file.close()
            self._file = None

    def port_taken(self) -> bool:
        """Whether the process said that its port is in use."""
        return any(text in line for line in self.lines for text in PORT_TAKEN)
