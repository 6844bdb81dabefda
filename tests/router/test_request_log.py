"""Request ids, the log, and traces: one request can be followed through all of them, and no prompt is in any."""

import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import aiohttp
import pytest
from doorway import key_of, written
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scripted import ScriptedEngine, answer
from service import CHAT, VANILLA, Service, http_server, running_service, settings_with, simulator

from router.access.door import DoorStores, guarded
from router.access.keys import new_key
from router.access.shared_keys import MemoryKeyStore
from router.access.usage import MemoryUsageStore
from router.config.auth import AdminSettings, AuthSettings
from router.config.traffic import LogSettings, TracingSettings
from router.observe import logs
from router.observe.logs import FIELDS, configure_logging
from router.observe.tracing import tracing
from router.service import Application

SECRET = "the launch code is 0000"
ASKED = {**CHAT, "messages": [{"role": "user", "content": SECRET}], "max_tokens": 4}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the product logs as JSON."""
    logger = logging.getLogger("alpharoute")
    before = (logger.handlers[:], logger.propagate, logger.level)
    configure_logging(LogSettings(format="json", requests=True), "router")
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    handler.setStream(written)
    yield written
    logger.handlers[:], logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


async def test_an_id_is_taken_or_made_and_given_to_all(service: Service) -> None:
    """The client's own where it is plain and short; on errors and pages too."""
    for given, kept in (("r-1", True), ("x" * 129, False), ("ü", False), (None, False)):
        headers = {} if given is None else {"x-request-id": given}
        async with service.session.post("/v1/chat/completions", json=ASKED, headers=headers) as got:
            (seen,) = got.headers.getall("x-request-id")
            assert (seen == given) is kept
            assert seen.isascii()
        async with service.session.post("/v1/chat/completions", json={}, headers=headers) as got:
            assert (got.status, (got.headers["x-request-id"] == given) is kept) == (400, True)
    async with service.session.get("/health", headers={"x-request-id": "r-2"}) as got:
        assert got.headers["x-request-id"] == "r-2"


async def test_the_engine_s_id_is_not_sent_beside_the_router_s() -> None:
    """The engine hears the router's, and what it calls the request itself stays inside."""
    engine = ScriptedEngine(answer(b"{}", headers="content-type: application/json\r\nX-Request-Id: engine\r\n"))
    async with (
        running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service,
        service.session.post("/v1/chat/completions", json=ASKED) as got,
    ):
        (seen,) = got.headers.getall("x-request-id")
    assert engine.asked[0].headers["x-request-id"] == seen != "engine"


async def test_each_request_is_a_line_without_its_text(lines: io.StringIO) -> None:
    """The line has the id and the decision; neither prompt nor answer is in the log."""
    settings = settings_with([VANILLA], logs={"requests": True})
    async with (
        running_service(settings, {"vanilla-1": simulator(VANILLA)}) as service,
        service.session.post("/v1/chat/completions", json=ASKED, headers={"x-request-id": "r-7"}) as got,
    ):
        answered = (await got.json())["choices"][0]["message"]["content"]
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    (line,) = [one for one in said if one.get("request_id") == "r-7"]
    assert {name: line[name] for name in ("route", "status", "model", "pool", "k")} == {
        "route": "/v1/chat/completions", "status": 200, "model": "demo", "pool": "vanilla", "k": 0,
    }  # fmt: skip
    assert line["duration_ms"] >= line["overhead_ms"] > 0
    assert SECRET not in lines.getvalue()
    assert answered not in lines.getvalue()


@pytest.mark.parametrize(
    ("given", "stands"),
    [
        ("r-1", "r-1"),
        ("a1b2:c/d", "a1b2:c/d"),
        ("r-1 status=200 key=admin", '"r-1 status=200 key=admin"'),
        ('r-1" key="admin', '"r-1\\" key=\\"admin"'),
        ("key=admin", '"key=admin"'),
        ("r\nline", '"r\\nline"'),
        ("r\x85line", '"r\\u0085line"'),
        (200, "200"),
    ],
)
def test_no_field_of_a_text_line_is_made_up(given: object, stands: str) -> None:
    """What a client chose stands in quotes where it would read as further fields, or as another line."""
    record = logging.makeLogRecord({"msg": "request", FIELDS: {"request_id": given, "status": 401}})
    assert logs.TextLines().format(record).endswith(f": request request_id={stands} status=401")


def test_of_an_exception_only_kind_and_place_are_told(lines: io.StringIO) -> None:
    """Its words may quote a prompt."""
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("alpharoute.test").exception("it failed", extra={FIELDS: {"request_id": "r-8"}})
    line = json.loads(lines.getvalue())
    assert (line["message"], line["exception"], line["request_id"]) == ("it failed", "ValueError", "r-8")
    assert "test_request_log.py" in line["stack"][0]
    assert SECRET not in lines.getvalue()


IN_A_REPLICA = """
import io, logging, os, sys
sys.stderr = io.StringIO()  # as Ray Serve's replicas have it: what is written here comes late, or never
from router.config.traffic import LogSettings
from router.observe.logs import FIELDS, configure_logging
configure_logging(LogSettings(format="json", requests=True), "router")
logging.getLogger("alpharoute.access").info("request", extra={FIELDS: {"request_id": "r-1"}})
os._exit(9)
"""


@pytest.mark.parametrize("to_a_folder", [False, True])
def test_a_line_is_out_before_a_process_is_killed(tmp_path: Path, to_a_folder: bool) -> None:
    """One object per line, to the process's own standard error or in the folder of logs, not in Ray Serve's buffer."""
    variables = {"ALPHAROUTE_LOG_DIR": str(tmp_path / "logs")} if to_a_folder else {}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_REPLICA],
        env={"PYTHONPATH": ":".join(sys.path), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    text = done.stderr
    if to_a_folder:
        assert text == ""
        (file,) = (tmp_path / "logs").glob("router-*.log")
        text = file.read_text()
    (line,) = text.splitlines()
    assert json.loads(line)["request_id"] == "r-1"


def test_a_full_log_file_makes_room(tmp_path: Path) -> None:
    """The newest lines are in the file of that name, so that `tail -F` goes on."""
    with patch.object(logs, "FILE_BYTES", 100):
        handler = logs.LogFile(tmp_path / "router-1.log")
    for number in range(40):
        handler.emit(logging.makeLogRecord({"msg": f"line {number:04}"}))
    handler.close()
    assert (tmp_path / "router-1.log").read_text().endswith("line 0039\n")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["router-1.log", "router-1.log.1", "router-1.log.2"]
    assert all(file.stat().st_size < 120 for file in tmp_path.iterdir())


async def test_no_line_per_request_unless_asked(lines: io.StringIO, service: Service) -> None:
    """The default writes none."""
    async with service.session.post("/v1/chat/completions", json=ASKED) as got:
        assert got.status == 200
    assert "alpharoute.access" not in lines.getvalue()


async def test_a_trace_goes_from_the_client_s_span_to_the_engine_s() -> None:
    """One span in between, with what was asked and decided and no text."""
    exporter = InMemorySpanExporter()
    engine = ScriptedEngine(answer(b"{}"))
    async with running_service(settings_with([VANILLA]), {"vanilla-1": engine}) as service:
        traces = service.ingress.tracing = tracing(TracingSettings(endpoint="http://unused"), exporter)
        assert traces is not None
        async with service.session.post("/v1/chat/completions", json=ASKED, headers={"traceparent": PARENT}) as got:
            assert got.status == 200
        async with service.session.post("/v1/chat/completions", json={}) as got:
            assert got.status == 400
        traces.stop()
    span, refused = exporter.get_finished_spans()
    _, trace_id, span_id, _ = engine.asked[0].headers["traceparent"].split("-")
    assert span.context is not None
    assert span.parent is not None
    assert trace_id == PARENT.split("-")[1] == f"{span.context.trace_id:032x}"
    assert (f"{span.parent.span_id:016x}", f"{span.context.span_id:016x}") == (PARENT.split("-")[2], span_id)
    said = dict(span.attributes or {})
    assert (said["gen_ai.operation.name"], said["gen_ai.request.model"], said["alpharoute.k"]) == ("chat", "demo", 0)
    assert SECRET not in str(said)
    assert dict(refused.attributes or {})["error.type"] == "400"


def test_no_endpoint_is_no_tracing() -> None:
    """Nothing is there that a request could ask."""
    assert tracing(TracingSettings()) is None


@pytest.mark.filterwarnings("ignore")  # of Ray's own import
def test_serve_writes_no_line_of_its_own_per_request() -> None:
    """It would say less than ours, whether or not anybody wants one."""
    from router.app import build_app

    settings = settings_with([VANILLA], auth={"allow_anonymous": True}, redis={"url": "redis://127.0.0.1:1/0"})
    logging_config = build_app(settings)._bound_deployment._deployment_config.logging_config
    assert logging_config is not None
    assert logging_config["enable_access_log"] is False
    assert logging_config["log_level"] == "WARNING"


async def test_a_line_names_the_key_and_never_shows_it(lines: io.StringIO, tmp_path: Path) -> None:
    """Who sent a request is told by the key's id."""
    secret = new_key()
    auth = AuthSettings(keys_file=written(tmp_path / "keys", [key_of(secret, "team-a")]))
    stores = DoorStores(MemoryKeyStore(), MemoryUsageStore())
    settings = settings_with([VANILLA], logs={"requests": True})
    async with running_service(settings, {"vanilla-1": simulator(VANILLA)}) as service:
        telemetry = service.ingress.recorder.telemetry
        guarding = guarded(service.ingress, telemetry, auth, AdminSettings(), stores, time.time, "r1")
        async with http_server(Application(guarding)) as url, aiohttp.ClientSession(url) as session:
            headers = {"authorization": f"Bearer {secret}", "x-request-id": "r-9"}
            async with session.post("/v1/chat/completions", json=ASKED, headers=headers) as got:
                assert got.status == 200
    (line,) = [one for one in map(json.loads, lines.getvalue().splitlines()) if one.get("request_id") == "r-9"]
    assert line["key"] == "team-a"
    assert secret not in lines.getvalue()
