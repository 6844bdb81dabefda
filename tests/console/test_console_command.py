"""`alpharoute console`: the console of a service that runs elsewhere."""

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from engines.ports import free_port
from router.cli import app


@contextlib.contextmanager
def started(url: str, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as an operator types it, and the first line it says."""
    command = [sys.executable, "-m", "router.cli", "console", "--url", url, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.timeout(90)
def test_it_listens_here_and_asks_there() -> None:
    """It says where it is, shows the sign-in form though nobody answers there, and an interrupt is no failure."""
    port = free_port()
    with started("http://127.0.0.1:1", port) as (process, said):
        assert f"http://127.0.0.1:{port}/console shows http://127.0.0.1:1" in said
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/console/login", timeout=20) as page:
                text = page.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        assert "Alpharoute" in text
    assert process.returncode == 0


def test_an_address_that_is_none_is_a_wrong_use() -> None:
    """The message names the option and what it must look like."""
    result = CliRunner().invoke(app, ["console", "--url", "router:8000"])
    assert result.exit_code == 2
    assert "must begin with http" in result.stderr
