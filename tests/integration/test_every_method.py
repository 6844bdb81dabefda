"""Every speculation method whose code runs on a CPU, on real vLLM: the same text as without, k as asked per request."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_heads import K_MAX

from engines.vllm_methods import METHODS

pytest.importorskip("vllm", exc_type=ImportError)
pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(400)]

SUPPORT = Path(__file__).parent.parent / "support"
GUESSES = frozenset({"eagle3"})
"""Methods whose head is random here: it drafts, and next to nothing of it is accepted."""
NOT_HERE = {
    "ngram_gpu": "needs a GPU",
    "mtp": "needs a target with prediction layers of its own",
    "dflash": "needs a trained block-diffusion drafter and an attention kernel for it",
    "dspark": "needs a trained drafter",
}
NEEDS = {"suffix": "arctic_inference"}
RUN = sorted(
    (
        name
        for name in METHODS
        if name not in NOT_HERE and (name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None)
    ),
    # It loads numba, over whose modules vLLM stumbles when it binds the kernels of a further engine in this process.
    key=lambda name: name == "ngram",
)


@pytest.fixture(scope="module")
def reports() -> dict[str | None, dict[str, Any]]:
    """What each method did, vanilla under None; one process for all of them."""
    path = os.pathsep.join((str(Path(__file__).parents[2]), str(SUPPORT)))
    command = [sys.executable, str(SUPPORT / "every_method.py"), *RUN]
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=380)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"method"')]
    assert len(lines) == 1 + len(RUN), done.stdout[-3000:] + done.stderr[-3000:]
    return {line["method"]: line for line in lines}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_changes_nothing_but_the_time(reports: dict[str | None, dict[str, Any]], method: str) -> None:
    """Greedy text equal at every k, k drafted as asked, and fewer steps where drafts are accepted."""
    if method not in RUN:
        pytest.skip(NOT_HERE.get(method) or f"{NEEDS[method]} is not installed")
    assert "error" not in reports[method], reports[method]["error"]
    vanilla = {request["prompt"]: request["tokens"] for request in reports[None]["requests"]}
    steps = dict.fromkeys(range(K_MAX + 1), 0)
    for request in reports[method]["requests"]:
        k, drafted = request["k"], set(request["drafted"])
        assert request["tokens"] == vanilla[request["prompt"]], f"k={k}"
        assert drafted <= ({0, k} if METHODS[method].drafts_every_step else set(range(k + 1))), f"k={k}"
        assert k in drafted
        steps[k] += len(request["drafted"])
    if method not in GUESSES:
        assert steps[K_MAX] < steps[0]
