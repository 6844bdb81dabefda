"""Where the logs of a service on this machine are: a folder per start, of which the newest are kept."""

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from engines.demo.build import default_folder
from router.config.check import LOG_FOLDER

KEPT = 10
"""Folders of earlier services that stay."""


@dataclass(frozen=True, slots=True)
class LogFolder:
    """One service's folder of logs, `own` where this service made it and its processes are to be told of it."""

    path: Path
    own: bool

    def tell(self) -> None:
        """Have every process that is started from now on write its log here."""
        self.path.mkdir(parents=True, exist_ok=True)
        os.environ[LOG_FOLDER] = str(self.path)

    def end(self) -> None:
        """Leave the environment as it was."""
        if self.own and os.environ.get(LOG_FOLDER) == str(self.path):
            del os.environ[LOG_FOLDER]

    def keep(self, ray: Path) -> None:
        """Copy what Ray logged, whose own folder is removed with the service; nothing where it never started."""
        logs = ray / "session_latest" / "logs"
        with contextlib.suppress(OSError):  # of files that come and go as their processes end; the rest is copied
            shutil.copytree(logs, self.path / "ray", dirs_exist_ok=True)


def log_folder() -> LogFolder:
    """The one that ALPHAROUTE_LOG_DIR names, else a new one below `$ALPHAROUTE_CACHE/logs`, or /tmp if it must be."""
    if chosen := os.environ.get(LOG_FOLDER):
        return LogFolder(Path(chosen).expanduser(), own=False)
    home = default_folder().parent / "logs"
    path = home / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    try:
        path.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError:
        return LogFolder(Path(tempfile.mkdtemp(prefix="alpharoute-logs-")), own=True)
    _forget_old(home)
    return LogFolder(path, own=True)


def _forget_old(home: Path) -> None:
    ended = [folder for folder in sorted(home.iterdir()) if not _in_use(folder)]
    for folder in ended[:-KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    """Whether the process in the folder's name lives; a stranger's name is nobody's to delete."""
    pid = folder.name.rpartition("-")[2]
    return not pid.isdigit() or Path(f"/proc/{pid}").exists()
