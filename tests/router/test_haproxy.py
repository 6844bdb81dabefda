"""The program that stands in for HAProxy: side ports on loopback, everything else as Ray Serve wrote it."""

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
from ray_head import end_head
from redises import until

import router.local.haproxy
import router.local.haproxy_rules
from engines.ports import free_port
from router.config.settings import Limits, RouterSettings
from router.local.haproxy import CONNECTIONS, configured_below, end_haproxies, serve_variables, write_guarded_haproxy

WRITTEN = """global
    maxconn 4000
defaults
    mode http
    errorfile 503 /tmp/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind *:8000
backend http-alpharoute
listen stats
  bind *:8404
  server a 10.0.0.1:9101
"""
STARTED = WRITTEN.replace("bind :9101", "bind 127.0.0.1:9101").replace("bind *:8404", "bind 127.0.0.1:8404")
STARTED = STARTED.replace("    errorfile 503 /tmp/500.http\n", "")


def test_side_ports_are_bound_to_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public port stays as it is set; arguments are passed on, the rules are there once however often it starts."""
    monkeypatch.setattr(router.local.haproxy, "_installed", lambda: "/bin/echo")
    configuration = tmp_path / "haproxy cfg"
    configuration.write_text(WRITTEN)
    program = write_guarded_haproxy(tmp_path)
    assert program is not None
    defaults, rules = (tmp_path / "defaults.cfg").read_text(), (tmp_path / "rules.cfg").read_text()
    started = STARTED.replace("defaults\n", f"defaults\n{defaults}")
    started = started.replace("frontend http_frontend\n", f"frontend http_frontend\n{rules}")
    for _ in range(2):  # a reload starts it anew
        said = subprocess.run([program, "-db", "-f", configuration, "-dR"], capture_output=True, text=True, check=True)
        assert said.stdout == f"-db -f {configuration} -dR\n"
        assert configuration.read_text() == started


def test_two_services_share_neither_files_nor_ports_and_streams_outlive_a_reload(tmp_path: Path) -> None:
    """Whatever Ray Serve would give both alike; an old worker may serve for as long as a request may take."""
    first, second = (serve_variables(tmp_path / name, port, Limits()) for name, port in (("a", 8000), ("b", 8001)))
    shared = {name for name, value in first.items() if second[name] == value}
    assert shared == {"RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"}
    assert int(first["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > 3600


def test_slow_clients_fill_no_router_before_haproxy_is_full() -> None:
    """Each connection carries one request at a time; a full router answers nobody, not even probes."""
    assert RouterSettings().max_ongoing_requests > CONNECTIONS
    assert "option disable-h2-upgrade" in router.local.haproxy_rules.DEFAULTS


def test_without_haproxy_there_is_nothing_to_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Serve then says what to install."""
    monkeypatch.setattr(router.local.haproxy, "_installed", lambda: None)
    assert write_guarded_haproxy(tmp_path) is None


SLOW = """global
defaults
    mode http
    timeout client 3600s
    timeout connect 5s
    timeout server 3600s
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200
"""


def test_half_a_request_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real HAProxy answers 408 to a head that does not end in time, and 200 to one that does."""
    monkeypatch.setattr(router.local.haproxy_rules, "DEFAULTS", ("timeout http-request 1s",))
    port, configuration = free_port(), tmp_path / "haproxy.cfg"
    configuration.write_text(SLOW.format(port=port))
    program = write_guarded_haproxy(tmp_path)
    assert program is not None
    with subprocess.Popen([program, "-db", "-f", configuration], stderr=subprocess.DEVNULL) as running:
        try:
            head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            assert _answer(port, head + b"\r\n").startswith(b"HTTP/1.1 200")
            assert _answer(port, head).startswith(b"HTTP/1.1 408")
        finally:
            running.terminate()


BEHIND = """defaults
    mode http
    timeout client 5s
    timeout connect 5s
    timeout server 1s
    errorfile 502 /tmp/500.http
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend none if {{ path /none }}
    default_backend one
backend none
    server gone 127.0.0.1:{nobody}
backend one
    server one 127.0.0.1:{behind}
"""

PLAIN = b"HTTP/1.1 %d Oops\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\nOops"
ANSWERS = {b"/breaks": b"", b"/fails": PLAIN % 500, b"/away": PLAIN % 503}
"""What the server behind says, by path, before it closes; of any other path it says nothing, and does not close."""


class _Behind(socketserver.BaseRequestHandler):
    """What stands behind HAProxy: it answers as `ANSWERS` has it."""

    def handle(self) -> None:
        """One connection."""
        path = self.request.recv(65536).split(b" ")[1]
        if path in ANSWERS:
            self.request.sendall(ANSWERS[path])
        else:
            self.request.recv(1)  # until HAProxy has had enough


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/none", 503, "no_router"),
        ("/breaks", 502, "router_lost"),
        ("/silent", 504, "router_timeout"),
        ("/fails", 500, "internal_error"),
        ("/away", 503, "no_router"),
        ("/-/routes", 404, "unknown_route"),
    ],
)
def test_what_never_reaches_a_router_is_answered_as_a_router_does(
    tmp_path: Path, path: str, status: int, code: str
) -> None:
    """Real HAProxy says OpenAI's error in JSON, and when to come back; what Ray Serve has it say is not kept."""
    port, configuration = free_port(), tmp_path / "haproxy.cfg"
    program = write_guarded_haproxy(tmp_path)
    assert program is not None
    with contextlib.ExitStack() as running:
        behind = running.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Behind))
        running.callback(behind.shutdown)
        threading.Thread(target=behind.serve_forever, args=(0.05,), daemon=True).start()
        configuration.write_text(BEHIND.format(port=port, nobody=free_port(), behind=behind.server_address[1]))
        haproxy = running.enter_context(
            subprocess.Popen([program, "-db", "-f", configuration], stderr=subprocess.DEVNULL)
        )
        running.callback(haproxy.terminate)
        said = _answer(port, b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/json" in head.lower()
    assert (b"retry-after: 1" in head.lower()) == (code in ("no_router", "router_lost", "router_timeout"))
    assert json.loads(body)["error"]["code"] == code


def test_a_worker_that_a_reload_displaced_is_ended(tmp_path: Path) -> None:
    """It keeps the connection it has, nobody's child any more; one of another folder is left alone."""
    other = tmp_path.with_name(tmp_path.name + "-other")
    other.mkdir()
    workers = []
    try:
        port, first = _orphan(tmp_path)
        workers.append(first)
        _, elsewhere = _orphan(other)
        workers.append(elsewhere)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET / HTTP/1.1\r\n")  # half a request: the connection is busy, and stays
            _, second = _orphan(tmp_path, port, "-sf", str(first.pid))
            workers.append(second)
            # The first may answer for the second, while the shell that becomes it starts others of its command line.
            until(lambda: _program(second) == _program(first), "the second is HAProxy itself")
            assert end_haproxies(tmp_path) == 2
        assert configured_below(tmp_path) == []
        assert configured_below(other) == [elsewhere.pid]
    finally:
        for worker in workers:
            if worker.is_running():
                worker.send_signal(signal.SIGKILL)


def test_the_tests_own_ray_head_leaves_none_either(tmp_path: Path) -> None:
    """Its displaced workers are children of nobody when it ends."""
    _, worker = _orphan(tmp_path)
    try:
        with subprocess.Popen(["/bin/sleep", "600"]) as head:
            end_head(head, tmp_path)
        assert configured_below(tmp_path) == []
    finally:
        if worker.is_running():
            worker.send_signal(signal.SIGKILL)


def _program(process: psutil.Process) -> str:
    """The file that a process runs now; psutil remembers what it ran when first asked."""
    return os.readlink(f"/proc/{process.pid}/exe")


def _orphan(folder: Path, port: int | None = None, *arguments: str) -> tuple[int, psutil.Process]:
    """A HAProxy that serves, and whose parent has ended; with its port."""
    port, configuration = port or free_port(), folder / "haproxy.cfg"
    configuration.write_text(SLOW.format(port=port))
    program = write_guarded_haproxy(folder)
    assert program is not None
    shell = 'program=$1; shift; "$program" "$@" >/dev/null 2>&1 & echo $!'
    started = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", program, "-db", "-f", configuration, *arguments],
        stdout=subprocess.PIPE, text=True, check=True, preexec_fn=os.setsid,
    )  # fmt: skip
    worker = psutil.Process(int(started.stdout))
    head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert _answer(port, head).startswith(b"HTTP/1.1 200")
    return port, worker


TWICE = b"r-1\r\nx-request-id: \xff"
"""Of two, one is taken here and the other there."""

ECHO = """defaults
    mode http
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain lf-string "%[req.hdr(x-request-id)]|%[req.hdr(x-request-disconnect-disabled)]"
"""  # noqa: E501 - HAProxy knows no line that goes on


def test_an_id_that_the_router_would_not_take_goes_no_further(tmp_path: Path) -> None:
    """Ray Serve would repeat it beside the router's own; and Serve is told not to watch for clients that leave."""
    port, configuration = free_port(), tmp_path / "haproxy.cfg"
    configuration.write_text(ECHO.format(port=port))
    program = write_guarded_haproxy(tmp_path)
    assert program is not None
    with subprocess.Popen([program, "-db", "-f", configuration], stderr=subprocess.DEVNULL) as running:
        try:
            for given, kept in (
                (b"r 1", b"r 1"),
                (b"x" * 128, b"x" * 128),
                (b"x" * 129, b""),
                ("ü".encode(), b""),
                (TWICE, b""),
            ):
                head = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: %b\r\n\r\n" % given
                assert _answer(port, head).endswith(b"\r\n\r\n%b|?1" % kept)
        finally:
            running.terminate()


def _answer(port: int, sent: bytes, limit_s: float = 20) -> bytes:
    """What comes back, from the moment that somebody listens until the connection ends."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=limit_s) as connection:
                connection.sendall(sent)
                return b"".join(iter(lambda: connection.recv(4096), b""))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "HAProxy does not listen"
            time.sleep(0.01)
