"""LiteLLM's client against the router, from an environment of its own."""

import os
import subprocess
from pathlib import Path

import pytest

PYTHON = os.environ.get("LITELLM_PYTHON")
SESSION = Path(__file__).with_name("litellm_session.py")


@pytest.mark.skipif(PYTHON is None, reason="LITELLM_PYTHON names no interpreter with litellm, which bounds openai < 3")
def test_a_session(url: str, request: pytest.FixtureRequest) -> None:
    """Chats by three of its providers, streams, tools, structured output, responses and errors."""
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
    # See test_openai_client: not with the demo model.
    calls = ["--calls"] if "simulator" in request.node.name else []
    assert PYTHON is not None
    ran = subprocess.run(
        [PYTHON, str(SESSION), url, *calls], capture_output=True, text=True, timeout=110, env=env, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.strip().endswith("ok")
