"""Which engines say that they share hardware."""

import pytest

from engines.hardware import shared_hardware
from engines.pool import PoolSettings


def pool(**given: object) -> PoolSettings:
    """A vLLM pool."""
    return PoolSettings.model_validate({"name": "p", "model": "m", "target": "t", **given})


def test_engines_on_the_cores_of_one_machine_share_them() -> None:
    """Whatever their pools."""
    one, other = (pool(name=name, vllm={"device": "cpu"}) for name in ("a", "b"))
    assert shared_hardware(one) == shared_hardware(other) is not None


def test_parts_of_a_gpu_are_shared_and_whole_gpus_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves of GPU 1 share it; neither shares anything with GPU 0."""
    half = pool(gpus=0.5, vllm={"device": "gpu"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    first = shared_hardware(half)
    assert first == shared_hardware(half) is not None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert shared_hardware(half) != first
    assert shared_hardware(pool(gpus=1, vllm={"device": "gpu"})) is None


def test_simulators_share_nothing() -> None:
    """They wait; they do not compute."""
    assert shared_hardware(pool(engine="simulator")) is None
