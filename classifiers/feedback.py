"""Explicit labels kept as training feedback, where the operator allows prompts to be stored."""

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from classifiers.examples import Example, fields_of
from classifiers.label import Label
from classifiers.line_file import LineFile
from classifiers.prompt import Prompt

MAX_BYTES = 16 * 1024 * 1024
MAX_WAITING = 1_000
FEEDBACK_HEADER = "x-alpharoute-feedback"
"""`off` in a request keeps its prompt from being stored."""


class Feedback:
    """A file of examples, one JSON line for each explicitly labelled prompt, that `train` reads like any other.

    `keep` only remembers, so it may be called where nothing may wait; `flush` writes. A full file becomes `NAME.1`, in
    place of the one before it, so two files of `max_bytes` are the most. Several processes may share one path. Prompts
    are stored as sampled for classification: head and tail, at most some thousand characters.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Append to the file at `path`, created for this user alone; raises OSError where it cannot be."""
        self._file = LineFile(path, max_bytes)
        self._waiting: deque[tuple[Prompt, Label]] = deque()

    def keep(self, prompt: Prompt, label: Label) -> bool:
        """Remember the prompt under its label until the next flush.

        False, and nothing kept, for a guess of the model, a prompt without text, or where too many wait already.
        """
        if label.source not in ("header", "metadata") or not prompt.text.strip() or len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append((prompt, label))
        return True

    def flush(self) -> int:
        """Write what waits and return how many lines; raises OSError, and what was taken to be written is lost."""
        lines = [_line(*self._waiting.popleft()) for _ in range(len(self._waiting))]
        if lines:
            self._file.append(b"".join(lines))
        return len(lines)


def opted_out(headers: Mapping[str, str]) -> bool:
    """Whether the client keeps its prompt to itself: `x-alpharoute-feedback: off`, or anything but `on`."""
    return headers.get(FEEDBACK_HEADER, "on").strip().lower() != "on"


def _line(prompt: Prompt, label: Label) -> bytes:
    return (json.dumps(fields_of(Example(label.task, prompt, source=""))) + "\n").encode()
