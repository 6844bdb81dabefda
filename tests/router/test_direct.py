"""What commands send to a service goes to that service and nowhere else."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from router.direct import open_url


class _Told(BaseHTTPRequestHandler):
    """Answers with what it was asked for, redirects from /moved."""

    def do_GET(self) -> None:
        """One request."""
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("location", "/there")
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    """A server on this machine."""
    with HTTPServer(("127.0.0.1", 0), _Told) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_this_machine_is_asked_past_any_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's http_proxy must not see the operator's key, nor fail to find a loopback address."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with open_url(f"{url}/ready", 5) as answer:
        assert answer.read() == b"/ready"
    with pytest.raises(OSError, match="refused"):
        open_url("http://192.0.2.1/ready", 5)


def test_a_key_follows_no_redirect(url: str) -> None:
    """Whoever answers in place of a service may point elsewhere; the key is not sent there."""
    asked = urllib.request.Request(f"{url}/moved", headers={"authorization": "Bearer k"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        open_url(asked, 5)
    with refused.value as answer:
        assert answer.code == 302
