"""Broken and mean clients over raw sockets, against real Ray Serve, HAProxy and Redis: what HAProxy and Serve add."""

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Iterator

import psutil
import pytest
import yaml
from deployed import Deployed, deployed

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

BODY_S, CLIENT_S, CONNECTIONS = 1, 3, 400
SETTINGS = {
    "pools": [{"name": "vanilla", "model": "demo", "engine": "simulator", "probe": False}],
    "limits": {"body_s": BODY_S, "bodies_bytes": 16 * 1024 * 1024},
}
ENV = {"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(CLIENT_S), "RAY_SERVE_HAPROXY_MAXCONN": str(CONNECTIONS)}

CHAT = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}).encode()
ENDS = (b"host: localhost", b"connection: close")
TOLD = (b"uvicorn", b"ray", b"serve_replica", b"traceback", b"haproxy", b"python", b"alpharoute-console", b"/-/")
"""What no answer tells, in small letters: the programs it went through and their words."""


@pytest.fixture(scope="module")
def service(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """One router and one simulator; after all of the attacks, the processes are the same."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS))
    with deployed(redis_url, folder, "--config", str(settings), env=ENV) as running:
        before = _replicas(running)
        yield running
        assert _replicas(running) == before


def _replicas(service: Deployed) -> dict[int, str]:
    family = psutil.Process(service.process.pid).children(recursive=True)
    lines = {process.pid: " ".join(process.cmdline()) for process in family}
    return {pid: line for pid, line in lines.items() if "ServeReplica" in line}


def _port(service: Deployed) -> int:
    return int(service.url.rsplit(":", 1)[1])


def _send(service: Deployed, sent: bytes, limit_s: float = 15, source: str = "127.0.0.1") -> bytes:
    """All that comes back until the connection is closed, which it must be in time."""
    address = ("127.0.0.1", _port(service))
    with socket.create_connection(address, timeout=limit_s, source_address=(source, 0)) as connection:
        connection.sendall(sent)
        return _rest(connection)


def _rest(connection: socket.socket) -> bytes:
    got = b""
    while part := connection.recv(65536):
        got += part
    return got


def _get(path: bytes, *lines: bytes, method: bytes = b"GET", ends: tuple[bytes, ...] = ENDS) -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", *ends, *lines, b"", b""])


def _post(*lines: bytes, body: bytes = CHAT, path: bytes = b"/v1/chat/completions", counted: bool = True) -> bytes:
    length = (b"content-length: %d" % len(body),) if counted else ()
    return _get(path, b"content-type: application/json", *lines, *length, method=b"POST") + body


def _chunked(body: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n0\r\n\r\n" % (len(body), extension, body)


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


CHUNKED = b"transfer-encoding: chunked"
SMUGGLED = b"0\r\n\r\nGET /admin/v1/overview HTTP/1.1\r\nhost: localhost\r\n\r\n"
UPGRADE = (
    b"connection: upgrade",
    b"upgrade: websocket",
    b"sec-websocket-version: 13",
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)

ANSWERED = {
    # Serve reads these itself, and fails where they are no UTF-8, or ends the request by them.
    "a session's id in 8 bits": (_post(b"x-session-id: \xff"), 200),
    "that id in another spelling": (_post(b"X_Session-Id: \xff"), 200),
    "a model's id for Serve in 8 bits": (_post(b"serve-multiplexed-model-id: \xff"), 200),
    "a time limit for Serve in 8 bits": (_post(b"x-request-timeout-seconds: \xff"), 200),
    "a time limit for Serve": (_post(b"x-request-timeout-seconds: 0.0001"), 200),
    "two request ids, one in 8 bits": (_post(b"x-request-id: a", b"x-request-id: \xff"), 200),
    "headers that belong to the connection": (_post(b"connection: x-request-disconnect-disabled, content-length"), 200),
    # What one reader might take for another request.
    "a length and chunks": (_post(CHUNKED, b"content-length: 4", body=_chunked(CHAT), counted=False), 200),
    "a length that ends within": (_post(CHUNKED, b"content-length: 4", body=SMUGGLED, counted=False), 400),
    "a chunk's extension": (_post(CHUNKED, body=_chunked(CHAT, b';a="b"'), counted=False), 200),
    "a folded header": (_post(b"x-a: b\r\n c: d"), 200),
    "a name in 8 bits for the content type": (_post(b"content-type: \xff"), 415),
    "a body that is declared compressed": (_post(b"content-encoding: gzip", body=b"\x1f\x8b"), 415),
    "a method that is none": (_get(b"/v1/models", method=b"FOO"), 405),
    "a method in small letters": (_get(b"/health", method=b"get"), 405),
    "TRACE": (_get(b"/v1/models", method=b"TRACE"), 405),
    "CONNECT": (_get(b"localhost:80", method=b"CONNECT"), 404),
    "OPTIONS of all": (_get(b"*", method=b"OPTIONS"), 404),
    "a websocket where there is none": (_get(b"/v1/models", *UPGRADE), 200),
    # Ways to Serve's own routes and the operators'.
    "Serve's routes": (_get(b"/-/routes"), 404),
    "Serve's routes, encoded": (_get(b"/%2d/routes"), 404),
    "Serve's routes, asked for by name": (_get(b"http://localhost/-/ROUTES?a=b"), 404),
    "Serve's health, encoded": (_get(b"/%2D/healthz"), 404),
    "two slashes": (_get(b"//admin/v1/overview"), 400),
    "an encoded letter": (_get(b"/%61dmin/v1/overview"), 400),
    "dots": (_get(b"/v1/../admin/v1/overview"), 400),
    "another host": (_get(b"/v1/models", ends=(b"host: evil.example", b"connection: close")), 403),
    "another host's address": (_get(b"http://evil.example/v1/models", ends=(b"host: evil.example", ENDS[1])), 403),
    "forwarded by nobody": (_get(b"/v1/models", b"x-forwarded-host: evil.example", b"forwarded: host=evil"), 200),
    "many headers": (_get(b"/health", *(b"x-%d: a" % i for i in range(99))), 431),
    "nested deeply": (_post(body=b"[" * 50_000), 400),
    "a million lists": (_post(body=b"[" + b"[]," * 1_000_000 + b"1]"), 413),
}


@pytest.mark.parametrize("sent", ANSWERED)
def test_what_is_read_is_answered_in_one_shape(service: Deployed, sent: str) -> None:
    """JSON whatever goes wrong, once, and without a word of what it went through."""
    request, status = ANSWERED[sent]
    answer = _send(service, request)
    assert _status(answer) == status, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"content-type: application/json" in head
    assert not [word for word in TOLD if word in answer.lower()], answer
    said = json.loads(body)
    if status != 200:
        assert said["error"].keys() == {"message", "type", "param", "code"}
        assert said["error"]["code"]


REFUSED = {
    "two lengths that differ": _post(b"content-length: 3"),
    "a signed length": _post(b"content-length: +5", counted=False),
    "an endless length": _post(b"content-length: " + b"9" * 30, counted=False),
    "chunks after another coding": _post(b"transfer-encoding: gzip, chunked", body=_chunked(CHAT), counted=False),
    "chunks that are not the last": _post(b"transfer-encoding: chunked, identity", body=_chunked(CHAT), counted=False),
    "chunks by another name": _post(b"transfer-encoding: xchunked", body=_chunked(CHAT), counted=False),
    "chunks said twice": _post(CHUNKED, CHUNKED, body=_chunked(CHAT), counted=False),
    "a space before the colon": _post(b"transfer-encoding : chunked", body=_chunked(CHAT), counted=False),
    "a chunk of negative size": _post(CHUNKED, body=b"-1\r\n" + CHAT, counted=False),
    "a chunk's line ended by half": _post(CHUNKED, body=_chunked(CHAT, b";a\n"), counted=False),
    "two hosts": _get(b"/health", b"host: other"),
    "a NUL in a header": _get(b"/health", b"x-a: b\0c"),
    "a lone CR in a header": _get(b"/health", b"x-a: b\rc: d"),
    "a NUL in the path": _get(b"/hea\0lth"),
    "8 bits in a header's name": _get(b"/health", b"x-\xff: a"),
    "a head of 64 KB": _get(b"/health", b"x-a: " + b"a" * 65536),
    "200 headers": _get(b"/health", *(b"x-%d: a" % i for i in range(200))),
    "the greeting of TLS": bytes.fromhex("160301010001") + b"\0" * 200,
    "a line of another protocol": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n\r\n",
    "the greeting of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
}


@pytest.mark.parametrize("sent", REFUSED)
def test_what_two_could_read_differently_gets_no_further(service: Deployed, sent: str) -> None:
    """HAProxy says so itself, at once, and closes; its page is HTML that names nobody."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it had not read all of it
        answer = _send(service, REFUSED[sent])
        assert _status(answer) in (400, 422), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert not [word for word in TOLD if word in answer.lower()], answer


def test_pipelined_requests_are_answered_in_turn(service: Deployed) -> None:
    """A request within another's body is none."""
    inner = _get(b"/admin/v1/overview", ends=(b"host: localhost",))
    kept = _post(body=b" " * 10 + inner).replace(b"connection: close\r\n", b"")
    answers = _send(service, kept + kept + _get(b"/health")).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"400", b"400", b"200"]


def test_half_closed_is_gone(service: Deployed) -> None:
    """A client that says it will send no more is taken for one that left, whatever it had asked."""
    with socket.create_connection(("127.0.0.1", _port(service)), timeout=10) as connection:
        connection.sendall(_post())
        connection.shutdown(socket.SHUT_WR)
        answer = _rest(connection)
    assert answer == b"" or b'"code":"hung_up"' in answer


@pytest.mark.parametrize("request_line", [b"POST /nowhere HTTP/1.1", b"POST /v1/chat/completions HTTP/1.1"])
@pytest.mark.parametrize("dripping", [True, False])
def test_nobody_holds_a_connection_by_a_body_that_never_ends(
    service: Deployed, request_line: bytes, dripping: bool
) -> None:
    """Refused at once or late, whoever goes on sending is cut off; whoever sends nothing is, too, a little later."""
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", _port(service)), timeout=20) as connection:
        connection.sendall(request_line + b"\r\nhost: localhost\r\ncontent-length: 4000000\r\n\r\n")
        assert _status(connection.recv(4096)) in (404, 408)
        with contextlib.suppress(OSError):
            while dripping:
                connection.sendall(b"x")
                time.sleep(0.05)
                assert time.monotonic() - began_s < BODY_S + 5
            while connection.recv(4096):
                pass
    assert time.monotonic() - began_s < BODY_S + CLIENT_S + 5


HELD = {"half a head": b"GET /health HTTP/1.1\r\nx: ", "no body": _post(b"content-length: 1000", counted=False)}


@pytest.mark.parametrize("held", HELD)
def test_one_host_with_most_connections_keeps_no_other_out(service: Deployed, held: str) -> None:
    """At three quarters of all it gets no further one, and is told at once; others are served as before."""
    with contextlib.ExitStack() as holding:

        def hold(count: int) -> None:
            for _ in range(count):
                with contextlib.suppress(OSError):
                    connection = holding.enter_context(
                        socket.create_connection(("127.0.0.1", _port(service)), 5, source_address=("127.0.0.3", 0))
                    )
                    connection.sendall(HELD[held])

        began_s = time.monotonic()
        hold(CONNECTIONS + 50)
        while _health(service, "127.0.0.3"):
            assert time.monotonic() - began_s < 20
            hold(50)  # HAProxy may have been loaded anew meanwhile, and counts those of its new process alone
        began_s = time.monotonic()
        assert _status(_send(service, _post())) == 200
        assert time.monotonic() - began_s < 2


def _health(service: Deployed, source: str) -> bytes:
    """What is answered to an address; nothing where its connection is refused."""
    with contextlib.suppress(ConnectionError):
        return _send(service, _get(b"/health"), source=source)
    return b""


def test_large_bodies_of_many_clients_are_bounded_in_memory(service: Deployed) -> None:
    """Sixty times four MiB, none of which ends: the router holds sixteen MiB of them, and serves others."""
    (router,) = [psutil.Process(pid) for pid, line in _replicas(service).items() if "alpharoute:router" in line]
    before = router.memory_info().rss
    size = 4 * 1024 * 1024
    sent = _post(b"content-length: %d" % size, body=b" " * (size - 1), counted=False)
    with contextlib.ExitStack() as holding, selectors.DefaultSelector() as ready:
        for _ in range(60):
            connection = holding.enter_context(socket.create_connection(("127.0.0.1", _port(service)), 5))
            connection.setblocking(False)
            ready.register(connection, selectors.EVENT_WRITE, [0])
        while ready.get_map():
            for key, _ in ready.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                try:
                    key.data[0] += key.fileobj.send(memoryview(sent)[key.data[0] : key.data[0] + 262144])
                except BlockingIOError:
                    continue
                except OSError:
                    ready.unregister(key.fileobj)
                    continue
                if key.data[0] == len(sent):
                    ready.unregister(key.fileobj)
        grown = router.memory_info().rss - before
        assert _status(_send(service, _post())) == 200
    assert grown < 100 * 1024 * 1024
