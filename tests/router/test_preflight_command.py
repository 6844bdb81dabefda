"""`alpharoute preflight`: what it prints, and how it ends."""

import json
from pathlib import Path

import pytest
from models_on_disk import folder_of, safetensors
from typer.testing import CliRunner

from engines.demo.build import DemoPair
from engines.progress import Report, silent
from router.cli import app

run = CliRunner().invoke


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """A target of 70 billion parameters and a drafter of 7."""
    return [str(folder_of(tmp_path, "llama-2-70b", "70b")), str(folder_of(tmp_path, "llama-2-7b", "7b"))]


def test_a_pair_that_fits_ends_with_0(pair: list[str]) -> None:
    """Tables with the account, the verdict and what is worth trying."""
    options = ["--method", "draft_model", "--batch", "4", "--tensor-parallel", "4", "--gpu-memory", "80GB"]
    result = run(app, ["preflight", *pair, *options])
    assert result.exit_code == 0, result.stderr
    for said in ("68,976,648,192", "1/10.2", "left for the KV cache", "largest batch", "fits", "draft_model"):
        assert said in result.stdout


def test_json_has_it_all(pair: list[str]) -> None:
    """Bytes and counts as numbers, for a pipeline to read; one GPU is not enough: 1."""
    result = run(app, ["preflight", *pair, "--batch", "4", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["account"]["verdict"] == "does not fit"
    assert report["account"]["weights"] == pytest.approx(2 * 68_976_648_192)
    assert report["target"]["parameters"] == 68_976_648_192
    assert [finding["level"] for finding in report["findings"] if finding["check"] == "memory"] == ["refusal"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere/model"], "is not a folder: give a model's folder or its hub id"),
        (["/models/llama.gguf"], "is a GGUF file"),
        (["what is this"], "neither a folder nor a hub id"),
        (["BIG", "--gpu-memory", "lots"], "--gpu-memory 'lots' is no size"),
        (["BIG", "--gpu-memory", "80"], "below 1 GiB: write the unit"),
        (["BIG", "--dtype", "float7"], "unknown dtype 'float7'"),
        (["BIG", "--kv-dtype", "fp3"], "unknown KV cache dtype 'fp3'"),
        (["BIG", "--quantization", "awq"], "quantization 'awq' is not one that vLLM makes as it loads"),
        (["BIG", "--quantization", "bitsandbytes"], "'bitsandbytes' is not one that vLLM makes as it loads"),
        (["BIG", "--method", "telepathy"], "method 'telepathy' is not supported"),
        (["SMALL", "BIG", "--method", "draft_model"], "were the two swapped?"),
        (["BIG", "SMALL", "--tensor-parallel", "4", "--draft-tensor-parallel", "2"], "vLLM takes 1 or the target's 4"),
    ],
)
def test_bad_input_ends_with_2(pair: list[str], arguments: list[str], said: str) -> None:
    """One line on the error stream that says what to do, and no traceback."""
    named = {"BIG": pair[0], "SMALL": pair[1]}
    result = run(app, ["preflight", *(named.get(argument, argument) for argument in arguments)])
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_demo_pair_is_trained_with_a_word(monkeypatch: pytest.MonkeyPatch, pair: list[str]) -> None:
    """Minutes of training are told on the error stream; what a pipeline reads holds the report alone."""

    def build(out: Path, *, progress: Report = silent) -> DemoPair:
        progress("training the target", 1, 2)
        return DemoPair(Path(pair[0]), Path(pair[1]), "x")

    monkeypatch.setattr("router.commands.preflight.build_demo_pair", build)
    result = run(app, ["preflight", "demo", "demo", "--json"])
    assert result.stderr == "demo pair: training the target 1/2, started\n"
    assert json.loads(result.stdout)["target"]["parameters"] == 68_976_648_192


def test_a_truncated_checkpoint_ends_with_2(tmp_path: Path) -> None:
    """The file, the sizes, and to download it again."""
    folder = folder_of(tmp_path, "llama-3.2-1b")
    path = safetensors(folder / "model.safetensors", {"a.weight": ("BF16", (64, 64))})
    path.write_bytes(path.read_bytes()[:-1])
    result = run(app, ["preflight", str(folder)])
    assert result.exit_code == 2
    assert "truncated" in result.stderr
    assert "download it again" in result.stderr
