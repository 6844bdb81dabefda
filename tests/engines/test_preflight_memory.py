"""Preflight's figures for well-known models, against figures worked out by hand and logged by vLLM in public."""

from typing import Any

import pytest
from models_on_disk import public_config

from engines.preflight.activations import GIB, activations_bytes, four_times_rule_bytes, outside_bytes
from engines.preflight.cache import caches, request_bytes, token_bytes
from engines.preflight.memory import Model, Plan, Verdict, account, run_dtype
from engines.preflight.parameters import active_parameters, mtp_parts, parameters, parts_of_shape, weights_bytes
from engines.preflight.quantization import online
from engines.preflight.shape import Shape, shape_of


def _shape(name: str, **changes: Any) -> Shape:
    return shape_of({**public_config(name), **changes})


def _model(name: str, **changes: Any) -> Model:
    shape = _shape(name, **changes)
    return Model(shape, parts_of_shape(shape), run_dtype(shape, "auto"))


def _gib(size: float) -> float:
    return round(size / GIB, 2)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-70b", 70_553_706_496),
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-2-7b", 6_738_415_616),
        ("llama-2-70b", 68_976_648_192),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen2.5-0.5b", 494_032_768),
        ("mistral-7b-v0.1", 7_241_732_096),
        ("mixtral-8x7b", 46_702_792_704),
        ("gemma-2-9b", 9_241_705_984),
        ("qwen3-30b-a3b", 30_532_122_624),
        ("deepseek-v3", 671_026_419_200),
    ],
)
def test_parameters_are_those_published(name: str, count: int) -> None:
    """Exactly: biases, tied embeddings, norms, experts and latent attention included."""
    assert parameters(_shape(name)) == count


@pytest.mark.parametrize(
    ("name", "billions"),
    [("mixtral-8x7b", 12.9), ("deepseek-v3", 37.6), ("qwen3-30b-a3b", 3.35), ("llama-3.1-8b", 8.03)],
)
def test_a_token_uses_a_part_of_the_experts(name: str, billions: float) -> None:
    """What the size rules compare with: the parameters that one token's step reads."""
    assert active_parameters(_shape(name)) / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize(
    ("name", "gpus", "bytes_each"),
    [
        ("llama-3.1-8b", 1, 2 * 32 * 8 * 128 * 2),
        ("llama-3.1-70b", 1, 2 * 80 * 8 * 128 * 2),
        ("llama-3.1-70b", 4, 2 * 80 * 2 * 128 * 2),
        ("llama-3.1-70b", 16, 2 * 80 * 1 * 128 * 2),  # 8 heads on 16 GPUs: each is kept twice
        ("llama-2-7b", 1, 2 * 32 * 32 * 128 * 2),  # a drafter with more cache per token than its 70 B target
        ("qwen2.5-7b", 1, 2 * 28 * 4 * 128 * 2),
        ("qwen2.5-0.5b", 1, 2 * 24 * 2 * 64 * 2),
        ("gemma-2-9b", 1, 2 * 42 * 8 * 256 * 2),
        ("deepseek-v3", 1, 61 * (512 + 64) * 2),
        ("deepseek-v3", 8, 61 * (512 + 64) * 2),  # the latent vector lies whole on each GPU
    ],
)
def test_kv_cache_per_token(name: str, gpus: int, bytes_each: int) -> None:
    """Grouped queries, head sizes of their own, latent attention; per GPU under tensor parallelism, 16 bits."""
    assert token_bytes(caches(_shape(name), 2.0, gpus)) == bytes_each


def test_fp8_halves_the_cache() -> None:
    """One byte for two, of what a request takes in the account too."""
    model = _model("llama-3.1-8b")
    whole, half = (account(model, None, Plan(80 * GIB, kv_dtype=dtype)) for dtype in ("auto", "fp8"))
    assert half.kv_per_request * 2 == whole.kv_per_request


def test_a_sliding_window_bounds_what_a_request_holds() -> None:
    """Mistral's layers keep a window of 4,096 and the step being read, however long the context."""
    layers = caches(_shape("mistral-7b-v0.1"), 2.0, 1)
    held = (4096 - 1 + 2048 + 15) // 16 + 1  # vLLM's blocks: the window, the step's tokens, one for a ragged start
    assert request_bytes(layers, 32_768, 2048, 16) == held * 16 * 131_072
    assert request_bytes(layers, 1024, 2048, 16) == (1024 + 16) * 131_072


def test_alternating_windows_are_counted_by_layer() -> None:
    """Gemma-2: half of 42 layers see everything, half 4,096 tokens; with steps of 2,048 the latter stop at 6,143."""
    layers = caches(_shape("gemma-2-9b"), 2.0, 1)
    a_layer = 2 * 8 * 256 * 2
    assert [layer.window for layer in layers[:4]] == [4096, None, 4096, None]
    assert request_bytes(layers, 8192, 2048, 16) == 21 * a_layer * (8192 + (384 + 1) * 16)


def test_a_window_that_is_not_used_counts_for_nothing() -> None:
    """Qwen2.5 has a sliding_window in its configuration and says that it does not use it."""
    assert set(_shape("qwen2.5-7b").windows) == {None}


def test_layers_with_a_state_have_no_cache() -> None:
    """Of a hybrid model only the attention layers keep keys and values."""
    kinds = ["linear_attention", "linear_attention", "linear_attention", "full_attention"] * 2
    assert len(caches(_shape("qwen2.5-7b", layer_types=kinds), 2.0, 1)) == 2


@pytest.mark.parametrize(
    ("name", "gpus", "gib"),
    [
        ("llama-3.1-8b", 1, 14.96),  # vLLM logs 14.96 for Llama-3-8B
        ("llama-3.1-8b", 2, 7.48),  # and 7.48 on each of two
        ("llama-3.1-70b", 4, 32.86),  # a quarter, and the norms whole
        ("mixtral-8x7b", 2, 43.50),
        ("qwen2.5-7b", 1, 14.19),
        ("deepseek-v3", 8, 79.27),  # 8 bits for linear layers, 16 for embeddings; the down projections on each GPU
    ],
)
def test_weights_on_one_gpu(name: str, gpus: int, gib: float) -> None:
    """Split by tensor parallelism, quantized as the configuration says."""
    assert _gib(account(_model(name), None, Plan(80 * GIB, tensor_parallel=gpus)).weights) == gib


def test_weights_of_8_bits_are_what_vllm_logs() -> None:
    """A Llama-3.1-70B of w8a8 took 67.72 GiB in a public log of vLLM: within 0.1 GiB."""
    groups = {"group_0": {"weights": {"num_bits": 8, "type": "int"}}}
    model = _model("llama-3.1-70b", quantization_config={"quant_method": "compressed-tensors", "config_groups": groups})
    assert _gib(account(model, None, Plan(80 * GIB)).weights) == pytest.approx(67.72, abs=0.1)


def test_weights_of_4_bits_count_their_scales() -> None:
    """AWQ with groups of 128: 4 bits, and 20 more for each group; embeddings stay at 16."""
    quantized = {"quant_method": "awq", "bits": 4, "group_size": 128}
    shape = _shape("llama-3.1-8b", quantization_config=quantized)
    linear = 8_030_261_248 - 2 * 128_256 * 4096 - (2 * 32 + 1) * 4096
    by_hand = linear * (4 + 20 / 128) / 8 + (8_030_261_248 - linear) * 2
    assert account(Model(shape, parts_of_shape(shape), "bfloat16"), None, Plan(80 * GIB)).weights == pytest.approx(
        by_hand
    )


def test_quantizing_while_loading_halves_linear_layers() -> None:
    """`--quantization fp8`: a byte for each weight of a linear layer, two for embeddings and norms."""
    shape = _shape("llama-3.1-8b")
    small = weights_bytes(parts_of_shape(shape), shape, "bfloat16", online("fp8"), 1)
    assert small == pytest.approx(8_030_261_248 + 2 * 128_256 * 4096, rel=1e-4)


@pytest.mark.parametrize("gpus", [1, 2])
def test_activations_are_what_vllm_profiled(gpus: int) -> None:
    """Llama-3-8B, 8,192 tokens a step, 256 requests: 1.26 GiB in vLLM's own log, on one GPU and on each of two."""
    found = activations_bytes(_shape("llama-3.1-8b"), "bfloat16", step_tokens=8192, batch=256, k=0, gpus=gpus)
    assert found / GIB == pytest.approx(1.26, rel=0.05)


def test_activations_and_the_rest_are_what_a_log_leaves() -> None:
    """79.1 GiB at .98, weights of 67.72, 1,381 blocks of cache: 3.06 GiB remain for a 70 B target (graphs apart)."""
    left = 79.1 * 0.98 - 67.72 - 1381 * 16 * 327_680 / GIB
    found = activations_bytes(_shape("llama-3.1-70b"), "bfloat16", step_tokens=2048, batch=256, k=0, gpus=1)
    assert (found + outside_bytes(1)) / GIB - 0.7 == pytest.approx(left, rel=0.05)


def test_activations_know_neither_layers_nor_context() -> None:
    """One layer's tensors are alive at a time; the rule of four tensors per layer claims eighty times the layer's."""
    options = {"step_tokens": 2048, "batch": 4, "k": 4, "gpus": 1}
    shallow, deep = _shape("llama-2-70b", num_hidden_layers=1), _shape("llama-2-70b")
    found = activations_bytes(deep, "float16", **options)
    assert found == activations_bytes(shallow, "float16", **options)
    assert four_times_rule_bytes(deep, "float16", batch=4, context=4096) == 4 * 4 * 4096 * 8192 * 80 * 2
    assert found < four_times_rule_bytes(deep, "float16", batch=4, context=4096) / 100


def test_a_pair_of_70_and_7_billions_on_80_gb() -> None:
    """The textbook pair in 16 bits, four requests: one GPU never, two without the drafter only, four easily."""
    target, draft = _model("llama-2-70b"), _model("llama-2-7b")
    one, two, four = (
        account(target, draft, Plan(80 * GIB, batch=4, context=4096, tensor_parallel=gpus)) for gpus in (1, 2, 4)
    )
    alone = account(target, None, Plan(80 * GIB, batch=4, context=4096, tensor_parallel=2))
    assert [one.verdict, two.verdict, four.verdict] == [Verdict.NOT, Verdict.NOT, Verdict.FITS]
    assert (alone.verdict, alone.largest_batch) == (Verdict.FITS, 6)
    assert (four.kv_per_request, four.draft_kv_per_request) == (4096 * 327_680 / 4, 4096 * 524_288 / 4)
    assert four.largest_batch == int(four.kv_available // (4096 * (327_680 + 524_288) / 4))


def test_the_largest_context_is_the_largest() -> None:
    """One block more for each request of the batch would not fit."""
    plan = Plan(24 * GIB, batch=8, context=4096)
    found = account(_model("llama-3.1-8b"), None, plan)
    held = -(-found.largest_context // 16) * 16 * 131_072
    assert 8 * held <= found.kv_available < 8 * (held + 16 * 131_072)
    assert found.verdict is Verdict.FITS if found.largest_batch >= 10 else Verdict.TIGHT


def test_a_drafter_of_its_own_parallelism_lies_whole_on_its_gpu() -> None:
    """draft_tensor_parallel_size 1: the GPU that drafts holds all of it, weights and cache."""
    target, draft = _model("llama-3.1-70b"), _model("llama-3.2-1b")
    spread, whole = (
        account(target, draft, Plan(80 * GIB, tensor_parallel=4, draft_tensor_parallel=gpus)) for gpus in (None, 1)
    )
    assert whole.draft_weights == pytest.approx(2 * 1_235_814_400)
    assert whole.draft_kv_per_request == 4 * spread.draft_kv_per_request


def test_layers_for_multi_token_prediction_are_counted_once_asked_for() -> None:
    """DeepSeek-V3's extra layer: 11.5 B parameters beside the 671, of which vLLM loads none for a vanilla engine."""
    shape = _shape("deepseek-v3")
    assert sum(part.elements for part in mtp_parts(shape)) / 1e9 == pytest.approx(11.6, rel=0.02)
    model, plan = _model("deepseek-v3"), Plan(140 * GIB, tensor_parallel=8)
    alone, drafting = account(model, None, plan), account(model, None, plan, mtp=True)
    assert alone.draft_weights == alone.draft_kv_per_request == 0
    assert drafting.draft_kv_per_request == pytest.approx(drafting.kv_per_request / 61)


@pytest.mark.parametrize(("given", "run"), [("auto", "bfloat16"), ("float32", "float32"), ("half", "half")])
def test_a_model_of_32_bits_runs_with_16(given: str, run: str) -> None:
    """As vLLM does unless told otherwise."""
    assert run_dtype(_shape("llama-3.1-8b", torch_dtype="float32"), given) == run
