"""The command line: what it prints, and how it ends."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from router.cli import EngineChoice, app, local_settings
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
