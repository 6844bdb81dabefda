"""The small files of a model: read whole, with what is wrong with them in one line."""

import json
from pathlib import Path
from typing import Any

from engines.preflight.errors import PreflightError


def read_mapping(path: Path) -> dict[str, Any]:
    """What a JSON file holds; raises PreflightError where it cannot be read, is no JSON or holds no mapping."""
    try:
        found = parse_json(read_bytes(path))
    except ValueError:
        raise PreflightError(f"{path} is not JSON; download the model again") from None
    if not isinstance(found, dict):
        raise PreflightError(f"{path} holds no mapping; download the model again")
    return found


def read_bytes(path: Path) -> bytes:
    """A file's content; raises PreflightError where it cannot be read, or would not end (a pipe, a device)."""
    try:
        if path.exists() and not path.is_file():
            raise PreflightError(f"{path} is no plain file; download the model again")
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def parse_json(content: bytes) -> Any:
    """The value of JSON text; raises ValueError for anything else, also where it is nested beyond reason."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


def printable(text: str) -> str:
    """Text that a terminal and JSON can hold: names of files and JSON may carry halves of characters."""
    return text.encode(errors="replace").decode()


def unreadable(path: Path, error: OSError, otherwise: str = "download the model again") -> PreflightError:
    """An operating system's refusal in one line, with what to do; only some are a question of rights."""
    advice = "make it readable for this user" if isinstance(error, PermissionError) else otherwise
    return PreflightError(f"{path} cannot be read: {error.strerror}; {advice}")
