"""vLLM's own load generator against the router: every request of a small load is answered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_pair import tiny_pair

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

# As `vllm bench serve` runs it: the `vllm` command itself does not find its version in the CPU build.
BENCH = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
REQUESTS = 100


@pytest.mark.parametrize(
    ("backend", "endpoint"), [("openai-chat", "/v1/chat/completions"), ("openai", "/v1/completions")]
)
def test_every_request_of_a_load_is_answered(simulated: str, tmp_path: Path, backend: str, endpoint: str) -> None:
    """Streams of 24 tokens, 16 at a time."""
    options = {
        "--backend": backend,
        "--base-url": simulated,
        "--endpoint": endpoint,
        "--model": "demo",
        "--tokenizer": str(tiny_pair().target),
        "--dataset-name": "random",
        "--random-input-len": "60",
        "--random-output-len": "24",
        "--num-prompts": str(REQUESTS),
        "--max-concurrency": "16",
        "--result-dir": str(tmp_path),
        "--result-filename": "result.json",
    }
    argv = [sys.executable, "-c", BENCH, "--save-result", *(word for option in options.items() for word in option)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=280, env=env, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["completed"], result.get("failed", 0)) == (REQUESTS, 0)
    assert result["total_output_tokens"] > REQUESTS
