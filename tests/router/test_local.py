"""One machine: everything that was started is ended, whatever goes wrong on the way and however often one asks."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import psutil
import pytest
from pydantic import SecretStr
from redises import until
from service import settings_with

from engines.ports import free_port
from engines.registry import TRYING_AGAIN
from router.config.masking import masked
from router.config.redis_url import parse_address
from router.config.settings import Settings
from router.data_path import FASTEST_PATH, slower_path
from router.errors import SetupError
from router.local import embedded_redis, service
from router.local.embedded_redis import EmbeddedRedis
from router.local.haproxy import configured_below
from router.local.service import RAY_ENV, LocalService, Seen


def test_the_fastest_path_is_set_or_missed_aloud() -> None:
    """On one machine it is set; elsewhere each missing variable is named with what it costs."""
    assert slower_path(RAY_ENV) == []
    missing = slower_path({"RAY_SERVE_ENABLE_HA_PROXY": "0"})
    assert [name for name in FASTEST_PATH if any(name in line for line in missing)] == list(FASTEST_PATH)
    assert "22 ms" in missing[0]


def _row(pool: str, state: str = "ready", phase: str = "") -> dict[str, str]:
    return {"pool": pool, "state": state, "phase": phase}


BOTH = [_row("vanilla"), _row("draft")]


class _Booting(BaseHTTPRequestHandler):
    """Routers that hear of engines one after the other, by what /ready says: what is said last is said ever after."""

    said: ClassVar[list[tuple[int, bytes]]] = []

    def do_GET(self) -> None:
        """What /ready says."""
        status, body = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        self.send_response(status if self.path == "/ready" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _page(router: str, *replicas: dict[str, str], status: int = 200) -> tuple[int, bytes]:
    return status, json.dumps({"router": router, "replicas": replicas}).encode()


def _left_unheard(*said: tuple[int, bytes], limit_s: float) -> int:
    """How many of these answers are left when the wait of a start with two routers ends."""
    _Booting.said = list(said)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Booting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = settings_with(listen={"port": server.server_port}, router={"replicas": 2})
    seen = Seen({}, True, {"vanilla": 1, "draft": 1, "idle": 0})
    try:
        with (
            patch.object(LocalService, "look", lambda _: seen),
            patch.object(service, "POLL_S", 0.01),
            patch.object(service, "HEARD_LIMIT_S", limit_s),
        ):
            LocalService(settings, Path("/nonexistent")).wait(lambda seen: None)
            return len(_Booting.said)
    finally:
        server.shutdown()
        server.server_close()


def test_a_start_ends_when_every_router_has_heard_of_every_engine() -> None:
    """Serve has all of it running a heartbeat earlier: a request for speculation would be answered without."""
    said = (
        (503, b"<html>no router"),
        _page("a", status=503),
        _page("a", _row("vanilla"), _row("draft", "starting"), status=200),
        _page("a", *BOTH),
        _page("b", _row("vanilla")),
        _page("a", *BOTH),
        _page("b", *BOTH, status=503),
        _page("b", *BOTH),
        _page("after", *BOTH),
    )
    assert _left_unheard(*said, limit_s=30) == 1


def test_a_start_does_not_wait_for_servers_that_are_not_there() -> None:
    """Once the routers know that; and not for ever where they never do."""
    away = _row("draft", "starting", f"{TRYING_AGAIN}: refused")
    assert (
        _left_unheard(_page("a", _row("vanilla"), away), _page("b", away, _row("vanilla")), (503, b""), limit_s=30) == 1
    )
    assert _left_unheard(_page("a", *BOTH), limit_s=0.1) == 1


def test_a_redis_that_does_not_end_is_killed() -> None:
    """A stopped process ignores a request to end; its folder is removed as well."""
    with patch.object(embedded_redis, "STOP_LIMIT_S", 0.2):
        redis = EmbeddedRedis().start()
        assert redis.pid is not None
        process, folder = psutil.Process(redis.pid), Path(psutil.Process(redis.pid).cwd())
        os.kill(redis.pid, signal.SIGSTOP)
        redis.stop()
    assert not process.is_running()
    assert not folder.exists()


def test_a_killed_redis_comes_back_with_what_it_had_answered() -> None:
    """Each write is in its file before the answer; the port stays."""
    with EmbeddedRedis() as redis:
        assert redis.pid is not None
        port = redis.port
        _say(redis, b"SET a 1\r\n", b"+OK")
        os.kill(redis.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(redis.pid)], timeout=5)
        assert redis.revive()
        assert redis.port == port
        _say(redis, b"GET a\r\n", b"$1\r\n1")


def test_what_redis_keeps_is_not_for_other_users(tmp_path: Path) -> None:
    """The keys that engines want are in its files, also in those that an earlier server wrote for everybody."""
    folder = tmp_path / "kept"
    (folder / "appendonlydir").mkdir(parents=True)
    for name in ("redis.log", embedded_redis.SECRETS):
        (folder / name).write_text("")
        (folder / name).chmod(0o644)
    before = os.umask(0o022)
    try:
        for where in (folder, tmp_path / "new" / "one"):
            with EmbeddedRedis(where) as redis:
                _say(redis, b"SET a 1\r\n", b"+OK")
                files = [file for file in where.rglob("*") if file.is_file()]
                assert len(files) >= 2
                assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "one").stat().st_mode & 0o777 == 0o700


def test_redis_answers_only_those_who_were_told_its_password(tmp_path: Path) -> None:
    """Every user of the machine reaches its port, and reads the arguments of its process; each server has another."""
    with EmbeddedRedis(tmp_path) as redis:
        password = parse_address(redis.url).password
        assert password is not None
        with socket.create_connection(("127.0.0.1", redis.port), timeout=5) as stranger:
            stranger.sendall(b"KEYS *\r\n")
            assert stranger.recv(100).startswith(b"-NOAUTH")
        arguments = " ".join(psutil.Process(redis.pid).cmdline())
        for shown in (arguments, repr(redis), (tmp_path / "redis.log").read_text(), masked(SecretStr(redis.url))):
            assert password not in shown
        assert password not in EmbeddedRedis().url


class Parts(LocalService):
    """A service whose parts only say that they were ended; one of them fails."""

    def __init__(self, drain: Callable[[], None], fails: str = "") -> None:
        super().__init__(settings_with())
        self._deployed = True
        self.ended: list[str] = []
        self.drain, self.fails = drain, fails

    def _end(self, name: str) -> None:
        self.ended.append(name)
        if name == self.fails:
            raise OSError(name)

    def _drain(self) -> None:
        self.drain()

    def _stop_ray(self) -> None:
        self._end("ray")

    def _stop_redis(self) -> None:
        self._end("redis")


@pytest.mark.parametrize("fails", ["ray", "redis"])
def test_each_part_is_ended_though_another_fails(fails: str) -> None:
    """Ray, Redis and the folder, in this order; what went wrong is raised in the end."""
    service = Parts(lambda: None, fails)
    with pytest.raises(OSError, match=fails):
        service.stop()
    assert service.ended == ["ray", "redis"]
    assert not service.scratch.exists()


def test_a_haproxy_that_outlived_ray_is_ended() -> None:
    """Serve does not end a worker that an earlier reload displaced; its configuration tells whose it is."""
    service = Parts(lambda: None)
    idle = [sys.executable, "-c", "import time; time.sleep(600)", "-f", str(service.scratch / "h" / "haproxy.cfg")]
    with subprocess.Popen(idle) as left:
        try:
            until(lambda: configured_below(service.scratch), "the process has no command line")
            service.stop()
            assert left.wait(5) == -signal.SIGKILL
        finally:
            left.kill()


def test_a_drain_that_fails_ends_the_rest() -> None:
    """Serve's controller may be dead: its error is said, and everything is ended."""

    def dead() -> None:
        raise RuntimeError("the controller died")

    service = Parts(dead)
    with pytest.raises(RuntimeError, match="controller"):
        service.stop()
    assert service.ended == ["ray", "redis"]


def test_a_second_interrupt_cuts_the_drain_short_and_nothing_else() -> None:
    """It ends the wait for requests; one that comes later still changes nothing."""

    def impatient() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(30)

    service, began_s = Parts(impatient), time.monotonic()
    before = signal.getsignal(signal.SIGINT)
    real_end = service._end

    def end(name: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        real_end(name)

    with patch.object(Parts, "_end", lambda self, name: end(name)):
        service.stop()
    assert time.monotonic() - began_s < 20
    assert service.ended == ["ray", "redis"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_volley_of_interrupts_is_one() -> None:
    """Between the first and `stop` no other is raised: it would skip the stop."""
    program = """
import os, signal, sys
from router.local.interrupts import end_on_signals
end_on_signals()
try:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        print("ended")
except KeyboardInterrupt:
    print("once")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["ended", "once"], done.stderr


def _say(redis: EmbeddedRedis, command: bytes, answer: bytes) -> None:
    with socket.create_connection(("127.0.0.1", redis.port), timeout=5) as connection:
        connection.sendall(f"AUTH {parse_address(redis.url).password}\r\n".encode())
        assert connection.recv(100).startswith(b"+OK")
        connection.sendall(command)
        assert connection.recv(100).startswith(answer)


def test_a_redis_that_does_not_answer_is_told_before_anything_starts() -> None:
    """The address without its password, and what went wrong, in place of a router that never gets ready."""
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    settings = Settings.model_validate({"redis": {"url": url}, "listen": {"port": free_port()}})
    with pytest.raises(SetupError, match=r"redis\.url: no answer from redis://") as refused, LocalService(settings):
        pass
    assert "hunter2" not in str(refused.value)


def test_a_refused_start_leaves_no_folder() -> None:
    """Nobody would ever sweep it: it was not claimed yet."""
    refused = LocalService(settings_with(listen={"host": "0.0.0.0"}))
    with pytest.raises(SetupError, match=r"listen\.host is '0\.0\.0\.0'"), refused:
        pass
    assert not refused.scratch.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_that_is_taken_is_a_setup_error(host: str, tmp_path: Path) -> None:
    """A free one passes."""
    port = free_port(host)
    one = LocalService(settings_with(listen={"host": host, "port": port}), tmp_path)
    one._check_port()
    with socket.socket() as taken:
        taken.bind((host, port))
        taken.listen()
        with pytest.raises(SetupError, match=f"{port}.*Choose another port"):
            one._check_port()


@pytest.mark.parametrize("host", ["::1", "::"])
def test_an_address_that_serve_cannot_use_is_named(host: str, tmp_path: Path) -> None:
    """It is not the port that is in the way."""
    with pytest.raises(SetupError, match=f"listen.host must be an IPv4 address or a name, not '{host}'"):
        LocalService(settings_with(listen={"host": host}), tmp_path)._check_port()
