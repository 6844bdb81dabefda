"""Explicit labels kept as training feedback, where the operator allows prompts to be stored."""

import fcntl
import json
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from classifiers.label import Label
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
        self._path = path
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[Prompt, Label]] = deque()
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(self._open())

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
            self._append(b"".join(lines))
        return len(lines)

    def _append(self, content: bytes) -> None:
        file = self._open()
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = os.fstat(file)
            if found.st_size and found.st_size + len(content) > self._max_bytes:
                if found.st_ino == self._path.stat().st_ino:  # else another process has just done it
                    self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                os.close(file)
                file = self._open()
            os.write(file, content[: self._max_bytes].rpartition(b"\n")[0] + b"\n")
        finally:
            os.close(file)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def opted_out(headers: Mapping[str, str]) -> bool:
    """Whether the client keeps its prompt to itself: `x-alpharoute-feedback: off`, or anything but `on`."""
    return headers.get(FEEDBACK_HEADER, "on").strip().lower() != "on"


def _line(prompt: Prompt, label: Label) -> bytes:
    fields = {"task": label.task, "prompt": prompt.text, "system": prompt.system, "history": prompt.history}
    tools: dict[str, object] = {"tools": [{}]} if prompt.has_tools else {}
    return (json.dumps({**fields, **tools}) + "\n").encode()
