"""A file of lines that several processes append to, and that never grows beyond a limit."""

import fcntl
import os
from pathlib import Path


class LineFile:
    """Readable by this user alone; a full file becomes `NAME.1`, in place of the one before it.

    Two files of `max_bytes` are the most there is. Several processes may share one path.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Append to the file at `path`, created where it is not there; raises OSError where it cannot be."""
        self._path = path
        self._max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(self._open())

    def append(self, content: bytes) -> None:
        """Write whole lines at the end; raises OSError. Of more than `max_bytes`, the first whole lines are kept."""
        file = self._open()
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = os.fstat(file)
            if found.st_size and found.st_size + len(content) > self._max_bytes:
                if found.st_ino == self._path.stat().st_ino:  # else another process has just done it
                    self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                full, file = file, self._open()
                os.close(full)
            os.write(file, content[: self._max_bytes].rpartition(b"\n")[0] + b"\n")
        finally:
            os.close(file)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
