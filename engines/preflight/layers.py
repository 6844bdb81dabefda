"""Which layers of a model attend, to how many tokens, and which have experts."""

from collections.abc import Mapping
from typing import Any

FIRST_OF_PATTERN = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4}
"""Of so many layers the last sees everything, the others their window, unless the configuration says otherwise."""


def attending(text: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    """Per layer whether it keeps keys and values; the others have a state (mamba, linear attention) instead."""
    types = text.get("layer_types")
    if isinstance(types, list) and types:
        return tuple(_attends(str(kind)) for kind in types)
    pattern = text.get("hybrid_override_pattern")  # Nemotron-H: M mamba, - feed-forward, * attention
    if isinstance(pattern, str) and pattern:
        return tuple(kind == "*" for kind in pattern)
    named = text.get("attn_layer_indices")  # Bamba
    if isinstance(named, list):
        return tuple(index in named for index in range(layers))
    period, offset = text.get("attn_layer_period"), text.get("attn_layer_offset")  # Jamba
    if type(period) is int and period > 1:
        return tuple(index % period == (offset or 0) for index in range(layers))
    every = text.get("full_attention_interval")  # Qwen3-Next
    if text.get("model_type") in INTERVAL_OF_FOUR and type(every) is not int:
        every = 4
    if type(every) is int and every > 1:
        return tuple((index + 1) % every == 0 for index in range(layers))
    return (True,) * layers


INTERVAL_OF_FOUR = frozenset({"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_5", "qwen3_5_moe"})
"""Families of which every fourth layer attends unless the configuration says otherwise."""


def _attends(kind: str) -> bool:
    return "attention" in kind and "linear" not in kind


def windows(text: Mapping[str, Any], layers: int, family: str) -> tuple[int | None, ...]:
    """Per attention layer its sliding window in tokens, None for all tokens."""
    window = text.get("sliding_window")
    if type(window) is not int or window < 1 or text.get("use_sliding_window") is False:
        window = None
    types = text.get("layer_types")
    if isinstance(types, list) and types:
        kept = [str(kind) for kind in types if _attends(str(kind))]
        return tuple(window if "sliding" in kind or "chunked" in kind else None for kind in kept)
    pattern = text.get("sliding_window_pattern")
    every = pattern if type(pattern) is int else FIRST_OF_PATTERN.get(family, 0)
    if window is not None and every > 1:
        return tuple(None if (i + 1) % every == 0 else window for i in range(layers))
    return (window,) * sum(attending(text, layers))


def with_experts(text: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    """Per layer whether its feed-forward part is a mixture of experts.

    Named one by one (Llama 4), from a layer on (DeepSeek), every so many (Llama 4 Maverick, Qwen, Jamba).
    """
    named = text.get("moe_layers")
    if isinstance(named, list) and named:
        return tuple(index in named for index in range(layers))
    each = text.get("moe_layer_freq")
    if isinstance(each, list) and each:
        return tuple(index < len(each) and bool(each[index]) for index in range(layers))
    first, dense = _whole(text, "first_k_dense_replace", 0), text.get("mlp_only_layers")
    found = [index >= first and not (isinstance(dense, list) and index in dense) for index in range(layers)]
    for name in ("interleave_moe_layer_step", "decoder_sparse_step"):
        step = _whole(text, name, 1)
        found = [one and (index + 1) % max(1, step) == 0 for index, one in enumerate(found)]
    period, offset = _whole(text, "expert_layer_period", 1), _whole(text, "expert_layer_offset", 0)
    period, offset = (period, offset) if period > 1 else (max(1, _whole(text, "moe_layer_freq", 1)), 0)
    return tuple(one and index % period == offset for index, one in enumerate(found))


def _whole(text: Mapping[str, Any], name: str, default: int) -> int:
    value = text.get(name)
    return value if type(value) is int else default


def state_parameters(text: Mapping[str, Any], hidden: int) -> int:
    """What a layer's state takes: Qwen3-Next's gated delta rule, Falcon-H1's or Jamba's mamba; 0 where it has none."""
    keys = _whole(text, "linear_num_key_heads", 0) * _whole(text, "linear_key_head_dim", 128)
    heads, size = _whole(text, "linear_num_value_heads", 0), _whole(text, "linear_value_head_dim", 128)
    if keys and heads:
        values, kernel = heads * size, _whole(text, "linear_conv_kernel_dim", 4)
        projections = hidden * (2 * keys + 3 * values + 2 * heads)  # queries, keys, values, gate, out; β, decay
        return projections + (2 * keys + values) * kernel + 2 * heads + size
    if wide := _whole(text, "mamba_d_ssm", 0):  # of mamba's second kind
        heads, groups = _whole(text, "mamba_n_heads", 128), 2 * _whole(text, "mamba_n_groups", 1)
        convolved = wide + groups * _whole(text, "mamba_d_state", 256)
        return hidden * (2 * wide + convolved + heads) + convolved * (_whole(text, "mamba_d_conv", 4) + 1) + 3 * heads
    inner, state = _whole(text, "mamba_expand", 0) * hidden, _whole(text, "mamba_d_state", 16)
    if not inner:
        return 0
    rank = _whole(text, "mamba_dt_rank", -(-hidden // 16))
    convolution = inner * (_whole(text, "mamba_d_conv", 4) + 1)
    steps = inner * (rank + 2 * state) + rank * inner + inner
    return 3 * inner * hidden + convolution + steps + inner * state + inner + rank + 2 * state
