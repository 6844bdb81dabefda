"""The command line: what it prints, and how it ends."""

import json

import pytest
from typer.testing import CliRunner

from router.cli import EngineChoice, app, local_settings
from router.errors import SetupError
from router.local.service import last_words

run = CliRunner().invoke


def test_settings_are_printed() -> None:
    """As a table, and as JSON that another tool can read."""
    assert "listen.port" in run(app, ["settings"]).stdout
    assert json.loads(run(app, ["settings", "--json"]).stdout)["listen"]["port"] == 8000


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
