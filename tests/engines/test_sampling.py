"""How a model samples where a request does not say, as its own generation_config.json has it."""

import json
from pathlib import Path

import pytest

from engines.preflight.sampling import sampling_of
from engines.registry import Sampling


def _model(folder: Path, said: object) -> str:
    folder.joinpath("config.json").write_text("{}")
    folder.joinpath("generation_config.json").write_text(said if isinstance(said, str) else json.dumps(said))
    return str(folder)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"temperature": 0.6, "top_p": 0.9, "do_sample": True}, Sampling(temperature=0.6, top_p=0.9)),
        ({"temperature": 0}, Sampling(temperature=0)),
        ({"top_p": 0.8}, Sampling(top_p=0.8)),
        ({}, Sampling()),
        ({"temperature": None, "top_p": "0.9"}, Sampling()),
        ({"temperature": float("nan"), "top_p": -1}, Sampling()),
        ([], Sampling()),
        ("no json", Sampling()),
    ],
)
def test_it_is_what_the_model_says_of_itself(said: object, found: Sampling, tmp_path: Path) -> None:
    """As vLLM takes it; what makes no sense is vLLM's neutral default."""
    assert sampling_of(_model(tmp_path, said)) == found


def test_it_is_neutral_where_vllm_does_not_ask_the_model(tmp_path: Path) -> None:
    """Told to sample its own way, or by another folder, or of a model that nobody finds."""
    model = _model(tmp_path, {"temperature": 0.6})
    for args in (("--generation-config", "vllm"), ("--generation_config=vllm",), ("--generation-config", "/elsewhere")):
        assert sampling_of(model, args) == Sampling()
    assert sampling_of(model, ("--generation-config=auto", "--seed", "1")) == Sampling(temperature=0.6)
    assert sampling_of(str(tmp_path / "nowhere")) == Sampling()
