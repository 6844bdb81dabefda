"""`alpharoute serve` as a user starts it: a process of its own, over a Redis that the test holds."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from engines.ports import free_port
from engines.registry import Heartbeat
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, connect

START_LIMIT_S = 900.0
STOP_LIMIT_S = 90.0


@dataclass(frozen=True)
class Deployed:
    """A running service, the Redis it shares state in, and what it printed."""

    url: str
    redis_url: str
    prefix: str
    process: subprocess.Popen[bytes]
    log: Path

    async def heartbeats(self) -> list[Heartbeat]:
        """What the engines announce now, keys included."""
        redis = connect(self.redis_url, timeout_s=5)
        try:
            return await RedisRegistry(redis, Keys(self.prefix)).replicas()
        finally:
            await redis.aclose()


@contextlib.contextmanager
def deployed(redis_url: str, folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Deployed]:
    """Start it, wait until it says where it listens, and end it by SIGTERM; fails where anything of it is left."""
    port, prefix, log = free_port(), f"test-{uuid.uuid4().hex[:8]}", folder / "serve.log"
    variables = {"ALPHAROUTE_REDIS__URL": redis_url, "ALPHAROUTE_REDIS__PREFIX": prefix}
    variables |= {"ALPHAROUTE_LOG_DIR": str(folder / "logs"), **(env or {})}
    command = [sys.executable, "-m", "router.cli", "serve", "--port", str(port), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **variables}, start_new_session=True
        )
    try:
        _until_listening(process, log)
        yield Deployed(f"http://127.0.0.1:{port}", redis_url, prefix, process, log)
    finally:
        _end(process, log)


def _end(process: subprocess.Popen[bytes], log: Path) -> None:
    """End it by SIGTERM; whatever stays behind is killed before that is said, for the next test is not to find it."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT_S)
    _, left = psutil.wait_procs(family, timeout=20 if process.poll() == 0 else 1)
    code, names = process.poll(), [one.name() for one in left if one.is_running()]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its group, and those of its family that made groups of their own
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    assert code is not None, f"the service did not end in {STOP_LIMIT_S:.0f} s:\n{log.read_text()}"
    assert code == 0, f"the service ended with {code}:\n{log.read_text()}"
    assert names == [], f"the service left processes running: {names}"


def _until_listening(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while b"listens on" not in log.read_bytes():
        assert process.poll() is None, f"the service ended with {process.returncode}:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"the service did not start:\n{log.read_text()}"
        time.sleep(0.2)
