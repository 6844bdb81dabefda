"""What a service left behind that was killed outright: found and cleared away by the next one."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

from router.local.haproxy import end_haproxies

PREFIX, OWNER = "ar-", "owner"


def scratch_folder() -> Path:
    """A new folder for one service; its path is short, for below it are Unix sockets (about 100 characters at most)."""
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))


def claim(folder: Path) -> TextIO:
    """Mark the folder as in use for as long as the file that is returned is open: this process' life at most."""
    owner = (folder / OWNER).open("w")
    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return owner


def sweep(parent: Path = Path("/tmp")) -> list[Path]:
    """End the HAProxies of this user's services that are no more, delete their folders, and say which these were.

    HAProxy outlives whoever started it: left alone, it holds the port of the next service.
    """
    return [folder for folder in sorted(parent.glob(f"{PREFIX}*")) if _swept(folder)]


def _swept(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        if folder.stat().st_uid != os.getuid():
            return False
        with (folder / OWNER).open("r+") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # taken: its service lives
            end_haproxies(folder)
            shutil.rmtree(folder, ignore_errors=True)
            return True
    return False
