"""The KV cache: bytes per token and layer, and what a request takes of it in vLLM's blocks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from engines.preflight.errors import PreflightError
from engines.preflight.shape import DTYPE_BYTES, Shape

GPU_BLOCK_TOKENS, CPU_BLOCK_TOKENS = 16, 128
"""Tokens of one of vLLM 0.32's blocks; some GPU backends have larger ones and round a little more."""

KV_DTYPE_BYTES = {"fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, **DTYPE_BYTES}

PADDING_FROM = 1.5
"""vLLM makes groups as large as the larger kind of layer while that is less than so much more than the smaller."""


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one attention layer keeps of a token on one GPU, and for how many tokens (None: all of them)."""

    token_bytes: float
    window: int | None = None


def kv_bytes(kv_dtype: str, run_dtype: str) -> float:
    """Bytes per number of `--kv-cache-dtype`; "auto" is the type the model runs with. PreflightError for others."""
    if kv_dtype == "auto":
        return DTYPE_BYTES[run_dtype]
    if kv_dtype not in KV_DTYPE_BYTES:
        raise PreflightError(f"unknown KV cache dtype {kv_dtype!r}; known are auto, {', '.join(KV_DTYPE_BYTES)}")
    return KV_DTYPE_BYTES[kv_dtype]


def caches(shape: Shape, number_bytes: float, gpus: int) -> tuple[LayerCache, ...]:
    """The caches of a model's layers on one of `gpus`.

    Grouped-query attention: 2·heads·head_dim numbers per token, the heads spread over the GPUs and at least one on
    each. Latent attention: rank + rope_dim numbers, whole on each GPU.
    """
    if shape.latent is not None:
        numbers = shape.latent.rank + shape.latent.rope_dim
    else:
        numbers = 2 * shape.head_dim * max(1, shape.kv_heads // gpus) if shape.kv_heads else 0
    return tuple(LayerCache(numbers * number_bytes, window) for window in shape.windows if numbers)


def mtp_caches(shape: Shape, number_bytes: float, gpus: int) -> tuple[LayerCache, ...]:
    """The caches of a target's layers for multi-token prediction."""
    return caches(shape, number_bytes, gpus)[:1] * shape.mtp_layers


def token_bytes(layers: Iterable[LayerCache]) -> float:
    """What one more token takes while no window is full."""
    return sum(layer.token_bytes for layer in layers)


def request_bytes(layers: tuple[LayerCache, ...], context: int, step_tokens: int, block_tokens: int) -> float:
    """What a request of `context` tokens may hold at most, as vLLM reserves it.

    A sliding window holds window − 1 + `step_tokens` tokens while a prompt is read in chunks, and one more block. Where
    layers differ, vLLM pads them to groups of equal size.
    """
    kinds = [(window, list(group)) for window, group in groupby(sorted(layers, key=_window), key=_window)]
    if not kinds:
        return 0.0
    size = _group_size([len(group) for _, group in kinds])
    return sum(
        _held_tokens(window, context, step_tokens, block_tokens) * token_bytes(group) * _padding(len(group), size)
        for window, group in kinds
    )


def _window(layer: LayerCache) -> int:
    return layer.window or 0


def _held_tokens(window: int, context: int, step_tokens: int, block_tokens: int) -> int:
    if not window:
        return math.ceil(context / block_tokens) * block_tokens
    return (math.ceil(min(window - 1 + step_tokens, context) / block_tokens) + 1) * block_tokens


def _group_size(counts: list[int]) -> int:
    return max(counts) if max(counts) < PADDING_FROM * min(counts) else min(counts)


def _padding(count: int, size: int) -> float:
    return math.ceil(count / size) * size / count
