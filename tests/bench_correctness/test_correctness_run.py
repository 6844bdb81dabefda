"""`python -m bench.correctness` in small, on real vLLM: right with this project's repair, caught without it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", exc_type=ImportError)
pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def run(file: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The command's exit code and the methods of its report."""
    command = [sys.executable, "-m", "bench.correctness", "--json", str(file), "--prompts", "42", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=560)
    assert file.exists(), done.stderr[-3000:]
    methods: dict[str, Any] = json.loads(file.read_text())["methods"]
    return done.returncode, methods


def test_methods_change_nothing_that_is_said(tmp_path: Path) -> None:
    """The draft model, n-gram and both ensembles: equal greedy answers, an unchanged distribution, drafts accepted."""
    names = ("draft_model", "ngram", "ensemble", "ensemble_with_draft_model")
    status, methods = run(tmp_path / "right.json", "--samples", "1500", "--methods", *names)
    assert status == 0, methods
    for name in names:
        assert methods[name]["right"]
        assert methods[name]["greedy"]["accepted"] > 100
        assert methods[name]["sampled"]["accepted"] > 50


def test_samples_that_prove_nothing_are_refused(tmp_path: Path) -> None:
    """Too few of them end the command before an engine starts, with how many it takes."""
    command = [sys.executable, "-m", "bench.correctness", "--samples", "100", "--json", str(tmp_path / "few.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "--samples 100 is too few to compare: at least " in done.stderr.splitlines()[-1]
    assert not (tmp_path / "few.json").exists()


def test_the_fault_of_the_cpu_build_is_caught(tmp_path: Path) -> None:
    """Without the repair sampled text is garbage, and the run says so; greedy text is right all the same."""
    status, methods = run(tmp_path / "unpatched.json", "--samples", "1000", "--unpatched", "--methods", "draft_model")
    if methods["draft_model"]["right"]:
        pytest.skip("this vLLM needs no repair")
    assert status == 0
    assert not methods["draft_model"]["sampled"]["unchanged"]
    assert methods["draft_model"]["greedy"]["differing"] == []
    assert methods["vanilla"]["sampled"]["unchanged"]
