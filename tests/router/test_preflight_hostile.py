"""`alpharoute preflight` on what a broken disk, a half download or a malicious upload leaves: one line, exit code 2."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from models_on_disk import folder_of, tokenizer
from typer.testing import CliRunner

from router.cli import app

TENSOR: dict[str, Any] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
DEEP = b"[" * 100_000 + b"]" * 100_000


def refused(*arguments: Path | str) -> str:
    """The line that it ends with; anything else than one line and 2 is a failure."""
    result = CliRunner().invoke(app, ["preflight", *map(str, arguments)])
    assert result.exit_code == 2, (result.exit_code, result.stdout, result.stderr, result.exception)
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder without weights."""
    return folder_of(tmp_path, "llama-3.2-1b")


def _weights(header: object, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(16)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"\0\0\0", "truncated"),
        (_weights(b"{}", 2**63), "its header should have 9,223,372,036,854,775,808 bytes"),
        (_weights(b"{}", 2**64 - 1), "truncated"),
        (_weights(DEEP), "its safetensors header is not JSON"),
        (_weights(b'{"a": ' + b"9" * 5000 + b"}"), "its safetensors header is not JSON"),
        (_weights([]), "its safetensors header is no mapping"),
        (_weights({"a": None}), "'a' is not described"),
        (_weights({"a": {**TENSOR, "shape": [1e400, 1]}}), "'a' is not described"),
        (_weights({"a": {**TENSOR, "shape": [-2, -2]}}), "'a' is not described"),
        (_weights({"a": {**TENSOR, "data_offsets": ["0", "16"]}}), "'a' is not described"),
        (_weights({"a": {**TENSOR, "data_offsets": [0, 2**70]}}), "'a' does not fit its shape"),
        (_weights({"a": {**TENSOR, "dtype": "F5"}}), "unknown dtype 'F5'; known are"),
        (_weights({"a": TENSOR, "b": TENSOR}), "its tensors overlap or leave gaps"),
    ],
)
def test_weights_that_are_none(model: Path, content: bytes, said: str) -> None:
    """Empty, cut off, lengths beyond the file, nesting without end, numbers that cannot be, tensors that overlap."""
    (model / "model.safetensors").write_bytes(content)
    assert said in refused(model)


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to(path), Path.mkdir, os.mkfifo], ids=["loop", "dir", "fifo"]
)
def test_weights_that_are_no_file(model: Path, make: Callable[[Path], None]) -> None:
    """A link to itself, a folder, a pipe that would never end: named, and not waited for."""
    path = model / "model.safetensors"
    make(path)
    assert str(path) in refused(model)


@pytest.mark.parametrize("content", [DEEP, b"", b"\xff\xfe", b"[]", b"null", b'{"hidden_size": ' + b"9" * 5000 + b"}"])
@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"]
)
def test_json_that_is_none(model: Path, tmp_path: Path, file: str, content: bytes) -> None:
    """Every JSON file that is read, of the drafter: nested without end, empty, binary, no mapping."""
    target = folder_of(tmp_path, "llama-2-70b", "target")
    for folder in (model, target):
        tokenizer(folder, ["<unk>", "a"])
    (model / file).write_bytes(content)
    assert file in refused(target, model, "--method", "draft_model")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rope_scaling", {"rope_type": "yarn", "factor": "x"}),
        ("rope_scaling", {"rope_type": "yarn", "factor": float("nan")}),
        ("rope_scaling", {"rope_type": "linear", "factor": -4}),
        ("rope_scaling", {"rope_type": "dynamic", "factor": [4]}),
        ("quantization_config", {"quant_method": "awq", "bits": []}),
        ("quantization_config", {"quant_method": "gptq", "bits": "four"}),
        ("quantization_config", {"quant_method": "compressed-tensors", "config_groups": [1]}),
    ],
)
def test_nested_fields_of_another_kind(tmp_path: Path, field: str, value: object) -> None:
    """Text, lists and no numbers where there should be some: the field, and no traceback."""
    line = refused(folder_of(tmp_path, "llama-3.1-8b", "odd", **{field: value}))
    assert field in line


def test_names_that_no_terminal_can_write(tmp_path: Path) -> None:
    """Half a character in the configuration is shown as a question mark."""
    folder = folder_of(tmp_path, "llama-3.1-8b", "odd", model_type="x\ud800", architectures=["y\ud800"])
    result = CliRunner().invoke(app, ["preflight", str(folder)])
    assert result.exit_code == 0, result.exception
    assert "x?" in result.stdout


@pytest.mark.parametrize("place", ["", "~nobody-of-that-name/model", "a\0b", "/" + "x" * 5000, "/dev/null", "LOOP"])
def test_places_where_no_model_can_be(tmp_path: Path, place: str) -> None:
    """Nothing, the home of nobody, names the system refuses, a device, a link to itself."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert refused(str(loop) if place == "LOOP" else place)


def test_more_memory_than_there_is(model: Path) -> None:
    """A size that is no GPU's any more."""
    assert "is more than any GPU has" in refused(model, "--gpu-memory", "9" * 400 + "GB")


def test_more_stages_than_layers(model: Path) -> None:
    """A refusal as vLLM's would be: exit code 1."""
    result = CliRunner().invoke(app, ["preflight", str(model), "--pipeline-parallel", "17"])
    assert result.exit_code == 1
    assert "16 layers cannot be cut into 17 stages" in " ".join(result.stdout.split())
