"""Ports that are chosen free."""

import socket
from pathlib import Path

import pytest

from engines import ports
from engines.ports import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.skipif(not RANGE.exists(), reason="only Linux tells where it takes the local ports of connections from")
def test_a_connection_cannot_take_a_port_before_its_server_does() -> None:
    """Between choosing and binding lie seconds in which other programs connect to this and that."""
    lowest = int(RANGE.read_text().split()[0])
    if lowest <= ports.HIGHEST:
        pytest.skip(f"this machine takes local ports from {lowest} on")
    assert all(free_port() < lowest for _ in range(20))


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_port_in_use_is_not_free(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever address its server listens on; with every port taken there is an error that says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "LOWEST", port)
        monkeypatch.setattr(ports, "HIGHEST", port)
        monkeypatch.setattr(ports, "TRIES", 1)
        with pytest.raises(OSError, match="no free port"):
            free_port(host)
    assert free_port(host) == port
