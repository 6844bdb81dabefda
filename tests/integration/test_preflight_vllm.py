"""Preflight's figures against those that real vLLM reports when it starts."""

import pytest

from bench.preflight.__main__ import measured, pools
from engines.pool import DEMO, PoolSettings
from engines.preflight.starting import gpu_memory_bytes
from engines.vllm_command import runs_on_cpu


def _pool(name: str) -> PoolSettings:
    return next(pool for pool in pools(DEMO, DEMO, "draft_model", 512, 8) if pool.name == name)


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["vanilla", "draft"])
async def test_the_cache_is_as_large_as_vllm_says(name: str) -> None:
    """Within 5 %, with and without the drafter, on the demo pair."""
    found = {one.figure: one for one in await measured(_pool(name))}
    assert abs(found["kv_cache_tokens"].error) < 0.05, found


@pytest.mark.vllm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["vanilla", "draft"])
async def test_memory_on_a_gpu_is_as_vllm_says(name: str) -> None:
    """What is left for the cache within 5 % on a GPU, which says it (the demo's weights are too small to judge)."""
    if gpu_memory_bytes() is None or runs_on_cpu(_pool(name)):
        pytest.skip("needs an NVIDIA GPU and vLLM's build for it; then `python -m bench.preflight` writes the figures")
    found = {one.figure: one for one in await measured(_pool(name))}
    assert abs(found["kv_cache_gib"].error) < 0.05, found
