"""What is read of vLLM's log, beside what was predicted."""

import pytest
from models_on_disk import public_config

from bench.preflight.reported import compared
from engines.preflight.memory import Model, Plan, account
from engines.preflight.parameters import parts_of_shape
from engines.preflight.shape import shape_of

LOG = """INFO 11-22 [gpu_model_runner.py:5150] Model loading took 14.99 GiB memory and 3.1 seconds
INFO 11-22 [gpu_worker.py:400] Available KV cache memory: 53.29 GiB
INFO 11-22 [kv_cache_utils.py:2327] GPU KV cache size: 436,544 tokens, Maximum concurrency for 8,192 tokens per request
"""


def test_a_log_is_compared_with_the_account() -> None:
    """Weights, memory left and tokens, where the log has them; a CPU's has the last alone."""
    shape = shape_of(public_config("llama-3.1-8b"))
    found = account(Model(shape, parts_of_shape(shape), "bfloat16"), None, Plan(79.2 * 2**30, context=8192))
    figures = {one.figure: one for one in compared(LOG, found)}
    assert figures["weights_gib"].error == pytest.approx(0, abs=0.005)
    assert figures["kv_cache_tokens"].reported == 436_544
    assert set(figures) == {"weights_gib", "kv_cache_gib", "kv_cache_tokens"}
    assert [one.figure for one in compared("CPU KV cache size: 32,768 tokens", found)] == ["kv_cache_tokens"]
