"""The small parts around vLLM's server: its log, its load, its key, the version it must have."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.vllm_auth import App, Receive, RequireKey, Scope, Send
from engines.vllm_load import EngineLoad, parse_load
from engines.vllm_log import KEPT_LINES, LogTail, phase_of
from engines.vllm_version import UnsupportedVllmError, check_internals

METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
"""


def test_load_is_read_from_the_metrics_page() -> None:
    """Summed over a server's engines; a longer name that begins alike is not counted."""
    assert parse_load(METRICS) == EngineLoad(running=5, waiting=7, kv_usage=0.5)


def test_a_page_of_something_else_is_refused() -> None:
    """Zero would read as an idle engine."""
    with pytest.raises(ValueError, match="not a vLLM server"):
        parse_load(b"# nothing here\nup 1\n")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), min_size=1), st.data())
def test_lines_come_whole_however_output_is_cut(lines: list[str], data: st.DataObject) -> None:
    """Characters of several bytes included."""
    output = "\n".join(lines).encode() + b"\n"
    cut = data.draw(st.integers(0, len(output)))
    tail = LogTail()
    got = [*tail.feed(output[:cut]), *tail.feed(output[cut:])]
    assert got == lines


def test_the_log_keeps_the_end_and_the_file_everything(tmp_path: Path) -> None:
    """Also an unfinished last line; the noise of vLLM's end only in the file."""
    tail = LogTail(tmp_path / "a" / "log")
    for i in range(KEPT_LINES + 50):
        tail.feed(f"line {i}\nnanobind: leaked\n".encode())
    tail.feed(b"unfinished")
    tail.close()
    assert len(tail.lines) == KEPT_LINES
    assert tail.lines[-1] == "unfinished"
    assert len((tmp_path / "a" / "log").read_text().splitlines()) == 2 * (KEPT_LINES + 50) + 1


def test_phases_are_read_from_the_log() -> None:
    """Lines as vLLM 0.32 writes them."""
    assert phase_of("(Worker pid=1) INFO [cpu_model_runner.py:75] Loading drafter model...") == "loading the drafter"
    assert phase_of("(Worker pid=1) INFO something else") is None


async def answer(middleware: type[RequireKey], path: str, *, key: bytes | None = None, kind: str = "http") -> list[str]:
    """What the middleware sends for one request, and "passed" where it lets it through."""
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent.append("passed")

    async def send(message: Scope) -> None:
        sent.append(f"{message['type']} {message.get('status', '')}".strip())

    async def receive() -> Scope:
        return {"type": "http.disconnect"}

    inner: App = app
    headers = [(b"authorization", b"Bearer " + key)] if key is not None else []
    await middleware(inner)({"type": kind, "path": path, "headers": headers}, receive, send)
    return sent


@pytest.mark.parametrize("path", ["/v1/models", "/invocations", "/tokenize", "/scale_elastic_ep", "/", "//v1/models"])
async def test_every_path_wants_the_key(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """vLLM itself guards a few prefixes only."""
    monkeypatch.setenv("VLLM_API_KEY", "right")
    assert (await answer(RequireKey, path))[0] == "http.response.start 401"
    assert (await answer(RequireKey, path, key=b"wrong"))[0] == "http.response.start 401"
    assert await answer(RequireKey, path, key=b"right") == ["passed"]
    assert await answer(RequireKey, path, kind="websocket") == ["websocket.close"]


async def test_health_and_metrics_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """To probes and to Prometheus, which hold no key; the server's own start-up passes as well."""
    monkeypatch.setenv("VLLM_API_KEY", "right")
    assert await answer(RequireKey, "/health") == ["passed"]
    assert await answer(RequireKey, "/metrics") == ["passed"]
    assert await answer(RequireKey, "", kind="lifespan") == ["passed"]


async def test_without_a_key_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server started without one by mistake is closed, not open."""
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert (await answer(RequireKey, "/v1/models", key=b""))[0] == "http.response.start 401"


@pytest.mark.filterwarnings("ignore")
def test_another_vllm_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version, or a hook that is gone."""
    pytest.importorskip("vllm")
    import vllm.version
    from vllm.v1.core.sched.scheduler import Scheduler

    check_internals()
    with monkeypatch.context() as patched:
        patched.setattr(vllm.version, "__version__", "0.33.0")
        with pytest.raises(UnsupportedVllmError, match=r"vLLM '0\.33\.0' is installed, 0\.32\.\* is supported"):
            check_internals()
    with monkeypatch.context() as patched:
        patched.delattr(Scheduler, "update_draft_token_ids")
        with pytest.raises(UnsupportedVllmError, match=r"update_draft_token_ids is missing"):
            check_internals()
