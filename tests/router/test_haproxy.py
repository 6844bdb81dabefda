"""The program that stands in for HAProxy: side ports on loopback, everything else as Ray Serve wrote it."""

import subprocess
from pathlib import Path

import pytest

import router.haproxy
from router.haproxy import write_guarded_haproxy

WRITTEN = """frontend prometheus
    bind :9101
frontend http_frontend
    bind *:8000
listen stats
  bind *:8404
  server a 10.0.0.1:9101
"""
STARTED = WRITTEN.replace("bind :9101", "bind 127.0.0.1:9101").replace("bind *:8404", "bind 127.0.0.1:8404")


def test_side_ports_are_bound_to_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public port stays as it is set; arguments are passed on."""
    monkeypatch.setattr(router.haproxy, "_installed", lambda: "/bin/echo")
    configuration = tmp_path / "haproxy cfg"
    configuration.write_text(WRITTEN)
    program = write_guarded_haproxy(tmp_path, (9101, 8404))
    assert program is not None
    for _ in range(2):  # a reload starts it anew
        said = subprocess.run([program, "-db", "-f", configuration, "-dR"], capture_output=True, text=True, check=True)
        assert said.stdout == f"-db -f {configuration} -dR\n"
        assert configuration.read_text() == STARTED


def test_without_haproxy_there_is_nothing_to_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Serve then says what to install."""
    monkeypatch.setattr(router.haproxy, "_installed", lambda: None)
    assert write_guarded_haproxy(tmp_path, (9101, 8404)) is None
