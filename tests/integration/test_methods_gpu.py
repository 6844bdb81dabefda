"""Every method on a GPU, as the product starts it there: asynchronous scheduling and CUDA graphs, which no CPU has."""

import json
import os
from pathlib import Path

import pytest

from bench.correctness.pair import correctness_models
from engines.pool import PoolSettings
from engines.preflight.starting import gpu_memory_bytes
from engines.progress import silent
from engines.vllm_command import runs_on_cpu
from engines.vllm_methods import METHODS, machine_problem
from engines.vllm_selfcheck import self_check
from engines.vllm_server import EngineServer

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(1200)]

WITHOUT_DRAFTER = ("ngram", "ngram_gpu", "suffix", "ensemble")
WITH_DEMO_DRAFTER = ("draft_model", "eagle", "medusa")
GIVEN = json.loads(os.environ.get("GPU_CHECKPOINTS", "{}"))
"""For what the project cannot make: `{"mtp": {"target": "org/model"}, "dflash": {"target": "…", "drafter": "…"}}`."""


def _pool(method: str) -> PoolSettings:
    """The demo pair, or the checkpoints that are given."""
    fields: dict[str, object] = {"name": "method", "method": method, "k_max": 4, "gpus": 1, "probe": False}
    if method in GIVEN:
        return PoolSettings.model_validate(fields | GIVEN[method])
    models = correctness_models((method,), silent)
    drafters: dict[str, Path] = {name: models.drafters[name] for name in WITH_DEMO_DRAFTER if name in models.drafters}
    fields |= {"target": str(models.target), "vllm": {"max_model_len": 512, "max_num_seqs": 8}}
    return PoolSettings.model_validate(fields | {"drafter": str(drafters[method]) if method in drafters else None})


@pytest.mark.parametrize("method", [name for name in METHODS if name != "custom_class"])
async def test_an_engine_on_a_gpu_passes_its_own_check(method: str) -> None:
    """Greedy text as without speculation, samples as their probabilities say, k as each request asks."""
    if gpu_memory_bytes() is None or runs_on_cpu(PoolSettings(name="vanilla")):
        pytest.skip("needs an NVIDIA GPU and vLLM's build for it")
    if method not in (*WITHOUT_DRAFTER, *WITH_DEMO_DRAFTER, *GIVEN):
        pytest.skip(f'needs trained weights: GPU_CHECKPOINTS=\'{{"{method}": {{"target": …, "drafter": …}}}}\'')
    if (problem := machine_problem(method, {}, on_cpu=False)) is not None:
        pytest.skip(problem)
    pool = _pool(method)
    async with EngineServer(pool) as engine:
        found = await self_check(engine.url, engine.api_key, model=pool.model, k_max=pool.k_max, method=method)
    assert found.ok, found.problems
