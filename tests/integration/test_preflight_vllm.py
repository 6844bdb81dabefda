"""Preflight's figures against those that real vLLM reports when it starts."""

import re
from pathlib import Path

import pytest

from engines.demo.build import build_demo_pair, default_folder
from engines.pool import PoolSettings
from engines.preflight.memory import Account, Plan
from engines.preflight.report import Wanted, examine
from engines.vllm_server import EngineServer

GIB = 1024**3
CACHE_SIZE = re.compile(r"KV cache size: ([\d,]+) tokens")
CHECKPOINT = re.compile(r"Checkpoint size: ([\d.]+) GiB")


def _predicted(pool: PoolSettings, drafter: str | None) -> Account:
    plan = Plan(64 * GIB, batch=8, context=512, k=4, kv_cache_bytes=pool.vllm.kv_cache_gib * GIB)
    return examine(Wanted(pool.target, drafter, "draft_model" if drafter else None), plan).account


@pytest.mark.vllm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("drafting", [False, True], ids=["vanilla", "draft_model"])
async def test_the_cache_is_as_large_as_vllm_says(tmp_path: Path, drafting: bool) -> None:
    """Within 5 %, with and without the drafter, on the demo pair; so is the checkpoint, as far as vLLM rounds it."""
    pair = build_demo_pair(default_folder())
    method = {"drafter": str(pair.draft), "method": "draft_model", "k_max": 4} if drafting else {}
    settings = {"name": "demo", "target": str(pair.target), "vllm": {"max_model_len": 512, "max_num_seqs": 8}, **method}
    pool = PoolSettings.model_validate(settings)
    log = tmp_path / "vllm.log"
    async with EngineServer(pool, log_file=log):
        pass
    said, predicted = log.read_text(), _predicted(pool, pool.drafter)
    cache = CACHE_SIZE.search(said)
    assert cache, said[-2000:]
    assert predicted.capacity_tokens == pytest.approx(int(cache[1].replace(",", "")), rel=0.05)
    checkpoint = CHECKPOINT.search(said)
    assert checkpoint, said[-2000:]
    on_disk = 2 * predicted.weights / GIB  # the demo's 32 bits, run as 16
    assert round(on_disk, 2) == pytest.approx(float(checkpoint[1]), abs=0.011)
