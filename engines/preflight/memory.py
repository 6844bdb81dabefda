"""Whether a target and its drafter fit: an account per GPU, and how many requests of which length remain."""

from dataclasses import dataclass
from enum import StrEnum

from engines.preflight.activations import activations_bytes, default_step_tokens, outside_bytes
from engines.preflight.cache import (
    CPU_BLOCK_TOKENS,
    GPU_BLOCK_TOKENS,
    LayerCache,
    caches,
    kv_bytes,
    mtp_caches,
    request_bytes,
)
from engines.preflight.errors import PreflightError
from engines.preflight.parameters import Part, mtp_parts, weights_bytes
from engines.preflight.quantization import Quantization
from engines.preflight.shape import DTYPE_BYTES, Shape

ROOM = 1.25
"""Batches that fit for each one wanted: less is tight, for vLLM preempts requests when the cache is full."""


class Verdict(StrEnum):
    """How the batch wanted and the memory that remains go together."""

    FITS = "fits"
    TIGHT = "tight"
    NOT = "does not fit"


@dataclass(frozen=True, slots=True)
class Model:
    """A model to account for: its shape, its parts, where they were read, and how it is run."""

    shape: Shape
    parts: tuple[Part, ...]
    dtype: str
    source: str = "config.json"

    @property
    def quantization(self) -> Quantization | None:
        """How its weights are shrunk."""
        return self.shape.quantization


@dataclass(frozen=True, slots=True)
class Plan:
    """The engine wanted; sizes in bytes, `context` in tokens, `k` drafts per step.

    `gpu_bytes` is one GPU's memory. `step_tokens` is vLLM's max_num_batched_tokens (None: its default for the GPU).
    `kv_cache_bytes` replaces what a GPU has left by a fixed size: so vLLM does on a CPU. `max_num_seqs` is vLLM's limit
    where it is not `batch`: the sampler must have room for it. `pipeline_parallel` cuts the target's layers into so
    many stages; the drafter runs on the last.
    """

    gpu_bytes: float
    batch: int = 8
    context: int = 4096
    k: int = 4
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    draft_tensor_parallel: int | None = None
    utilization: float = 0.92
    kv_dtype: str = "auto"
    draft_kv_dtype: str = "auto"
    step_tokens: int | None = None
    kv_cache_bytes: float | None = None
    max_num_seqs: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Bytes on one GPU, and what they allow.

    `capacity_tokens` is what vLLM logs as its KV cache size: requests at the full context times that context.
    `largest_context` is at the batch wanted, at most what the target was made for; 0 where not even a block fits.
    """

    usable: float
    weights: float
    draft_weights: float
    activations: float
    outside: float
    kv_available: float
    kv_per_request: float
    draft_kv_per_request: float
    capacity_tokens: int
    largest_batch: int
    largest_context: int
    verdict: Verdict

    @property
    def needed(self) -> float:
        """Everything but the KV cache."""
        return self.weights + self.draft_weights + self.activations + self.outside


def run_dtype(shape: Shape, option: str) -> str:
    """The type vLLM runs a model with: what `--dtype` says; with "auto" its own, bfloat16 where that is float32."""
    if option == "auto":
        return "bfloat16" if DTYPE_BYTES[shape.dtype] > 2 else shape.dtype
    if option not in DTYPE_BYTES:
        raise PreflightError(f"unknown dtype {option!r}; known are auto, {', '.join(DTYPE_BYTES)}")
    return option


def account(target: Model, draft: Model | None, plan: Plan, *, mtp: bool = False) -> Account:
    """What lies on one GPU, the fullest of its replica. `mtp`: the target's own extra layers draft."""
    weights, draft_weights = _weights(target, draft, plan, mtp)
    own, drafted = _layers(target, draft, plan, mtp)
    usable = plan.gpu_bytes * plan.utilization
    drafts = draft is not None or mtp
    activations = activations_bytes(
        target.shape,
        target.dtype,
        step_tokens=_step_tokens(plan),
        batch=plan.max_num_seqs or plan.batch,
        k=plan.k if drafts else 0,
        gpus=plan.tensor_parallel,
    )
    outside = outside_bytes(plan.tensor_parallel * plan.pipeline_parallel)
    left = max(0.0, usable - weights - draft_weights - activations - outside)
    available = left if plan.kv_cache_bytes is None else plan.kv_cache_bytes
    layers = own + drafted
    per_request = _request(layers, plan, plan.context)
    fit = int(available // per_request) if per_request else plan.batch
    return Account(
        usable=usable,
        weights=weights,
        draft_weights=draft_weights,
        activations=activations,
        outside=outside,
        kv_available=available,
        kv_per_request=_request(own, plan, plan.context),
        draft_kv_per_request=per_request - _request(own, plan, plan.context),
        capacity_tokens=int(available / per_request * plan.context) if per_request else 0,
        largest_batch=fit,
        largest_context=_largest_context(layers, plan, available, target.shape.context or 1 << 20),
        verdict=_verdict(fit, plan.batch),
    )


def _verdict(fit: int, wanted: int) -> Verdict:
    if fit < wanted:
        return Verdict.NOT
    return Verdict.FITS if fit >= ROOM * wanted else Verdict.TIGHT


def _weights(target: Model, draft: Model | None, plan: Plan, mtp: bool) -> tuple[float, float]:
    shape, quantization, gpus = target.shape, target.quantization, plan.tensor_parallel
    weights = weights_bytes(target.parts, shape, target.dtype, quantization, gpus) / plan.pipeline_parallel
    if draft is not None:
        spread = plan.draft_tensor_parallel or gpus
        return weights, weights_bytes(draft.parts, draft.shape, draft.dtype, draft.quantization, spread)
    return weights, weights_bytes(mtp_parts(shape), shape, target.dtype, quantization, gpus) if mtp else 0.0


def _layers(
    target: Model, draft: Model | None, plan: Plan, mtp: bool
) -> tuple[tuple[LayerCache, ...], tuple[LayerCache, ...]]:
    number = kv_bytes(plan.kv_dtype, target.dtype)
    own = caches(target.shape, number, plan.tensor_parallel)
    own = own[: -(-len(own) // plan.pipeline_parallel)]
    if draft is not None:
        width = kv_bytes(plan.draft_kv_dtype if plan.draft_kv_dtype != "auto" else plan.kv_dtype, draft.dtype)
        return own, caches(draft.shape, width, plan.draft_tensor_parallel or plan.tensor_parallel)
    return own, mtp_caches(target.shape, number, plan.tensor_parallel) if mtp else ()


def _step_tokens(plan: Plan) -> int:
    return plan.step_tokens or default_step_tokens(plan.gpu_bytes)


def _request(layers: tuple[LayerCache, ...], plan: Plan, context: int) -> float:
    block = GPU_BLOCK_TOKENS if plan.kv_cache_bytes is None else CPU_BLOCK_TOKENS
    return request_bytes(layers, context, _step_tokens(plan), block)


def _largest_context(layers: tuple[LayerCache, ...], plan: Plan, available: float, limit: int) -> int:
    """The longest context of which `plan.batch` requests fit, by halving: a request never takes less for more."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if plan.batch * _request(layers, plan, middle) <= available:
            low = middle
        else:
            high = middle - 1
    return low
