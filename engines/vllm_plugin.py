"""A vLLM plugin that repairs speculation in CPU builds, and only what a self-test shows to be broken.

Two faults of vLLM 0.32's CPU build are known, each with a reproduction in
docs/upstream-vllm-cpu-sampled-speculation.md.

- Sampled output under speculation is garbage: the CPU fallback of `expand_kernel` passes its C++ kernel int64 *copies*
  of the output and of the values, so the temperature, top-k and top-p of drafted tokens are uninitialised memory.
- A request with a top-k and no top-p kills a speculative engine: in a step without drafts (any prefill) the rejection
  sampler has no rows, and `apply_top_k_only` takes the maximum of nothing.

vLLM loads the entry point `vllm.general_plugins` in each of its processes before the worker binds its kernels.
"""

import logging
from collections.abc import Callable
from typing import Any

from engines.child import end_with_parent

KERNEL = "vllm.v1.sample.rejection_sampler.expand_kernel"
Expand = Callable[..., None]
TopK = Callable[[Any, Any], Any]

logger = logging.getLogger("vllm.alpharoute")


def register() -> None:
    """Put the repairs in place where they are needed; safe to call any number of times, in any vLLM process.

    An engine core whose server was killed would otherwise go on by itself, holding its memory.
    """
    end_with_parent()
    from vllm.platforms import current_platform
    from vllm.triton_utils import HAS_TRITON

    if not current_platform.is_cpu() or HAS_TRITON:
        return  # real Triton kernels run: neither fallback is in use
    current_platform.import_kernels()
    if repaired := [name for name, repair in REPAIRS.items() if repair()]:
        logger.warning("alpharoute: repaired in this CPU build of vLLM: %s", ", ".join(repaired))


def repair_expand() -> bool:
    """Replace vLLM's CPU fallback of `expand_kernel` if `expand_is_faulty`; whether it did."""
    from vllm.triton_utils import dispatcher
    from vllm.utils import cpu_triton_utils

    if not expand_is_faulty(cpu_triton_utils._expand_kernel_impl) or expand_is_faulty(expand):
        return False
    cpu_triton_utils._expand_kernel_impl = expand
    if KERNEL in dispatcher._registry:  # this process has already bound the faulty one
        dispatcher.register_kernels({KERNEL: expand})
    return True


def repair_top_k() -> bool:
    """Replace `apply_top_k_only` by one that takes no rows if `top_k_is_faulty`; whether it did."""
    from vllm.v1.sample.ops import topk_topp_sampler

    original = topk_topp_sampler.apply_top_k_only
    if not top_k_is_faulty(original):
        return False
    topk_topp_sampler.apply_top_k_only = skip_no_rows(original)
    return True


REPAIRS = {
    "sampled speculation (expand_kernel)": repair_expand,
    "top-k without drafts (apply_top_k_only)": repair_top_k,
}


def expand_is_faulty(expand_kernel: Expand) -> bool:
    """Whether an implementation of `expand_kernel` fails to write per-request values to each drafted token.

    Three requests with 2, 0 and 3 drafted tokens; values that no integer holds, and one to be replaced.
    """
    import torch

    output = torch.full((5,), -1.0)
    values, ends = torch.tensor([0.5, 1.5, 0.0]), torch.tensor([2, 2, 5], dtype=torch.int32)
    try:
        expand_kernel(output, values, ends, 0, 1, MAX_NUM_TOKENS=8)
    except Exception:  # a kernel that this build does not have, or with another signature, is as unusable
        logger.debug("expand_kernel raised in its self-test", exc_info=True)
        return True
    return list(output.tolist()) != [0.5, 0.5, 1.0, 1.0, 1.0]


def top_k_is_faulty(apply_top_k_only: TopK) -> bool:
    """Whether an implementation of `apply_top_k_only` raises on no rows."""
    import torch

    try:
        apply_top_k_only(torch.empty((0, 4)), torch.empty(0, dtype=torch.int32))
    except (RuntimeError, IndexError):
        return True
    return False


def expand(
    output: Any, input_val: Any, cu_num_tokens: Any, replace_from: int, replace_to: int, MAX_NUM_TOKENS: Any = None
) -> None:
    """Write `input_val[i]` to each of request i's places in `output`, `replace_from` becoming `replace_to`.

    Tensors: `output` (tokens,), `input_val` (requests,) of the same type, `cu_num_tokens` (requests,) the ends.
    Parameter names are those of the kernel it stands in for: vLLM calls by keyword.
    """
    import torch

    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1))
    values = torch.where(input_val == replace_from, torch.full_like(input_val, replace_to), input_val)
    expanded = torch.repeat_interleave(values, counts.to(torch.int64))
    output[: expanded.shape[0]].copy_(expanded)


def skip_no_rows(apply_top_k_only: TopK) -> TopK:
    """`apply_top_k_only`, but logits (rows, vocabulary) without rows are returned as they are."""

    def apply(logits: Any, k: Any) -> Any:
        return apply_top_k_only(logits, k) if logits.shape[0] else logits

    return apply
