"""Explicit labels kept as training feedback, where the operator allows prompts to be stored."""

import json
from pathlib import Path

from classifiers.label import Label
from classifiers.prompt import Prompt

MAX_BYTES = 16 * 1024 * 1024


class Feedback:
    """A file of examples, one JSON line for each explicitly labelled prompt, that `train` reads like any other.

    It stops growing at `max_bytes`; prompts are stored as sampled for classification, so they are short.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Append to the file at `path`, which is created for this user alone."""
        self._path = path
        self._max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._size = path.stat().st_size

    def keep(self, prompt: Prompt, label: Label) -> bool:
        """Append the prompt under its label; False, and nothing kept, for a guess of the model or a full file."""
        if label.source not in ("header", "metadata") or not prompt.text:
            return False
        line = self._line(prompt, label)
        if self._size + len(line) > self._max_bytes:
            return False
        with self._path.open("ab") as file:
            file.write(line)
        self._size += len(line)
        return True

    @staticmethod
    def _line(prompt: Prompt, label: Label) -> bytes:
        fields = {"task": label.task, "prompt": prompt.text, "system": prompt.system, "history": prompt.history}
        tools: dict[str, object] = {"tools": [{}]} if prompt.has_tools else {}
        return (json.dumps({**fields, **tools, "source": f"feedback {label.source}"}) + "\n").encode()
