"""What a step needs beside weights and KV cache: the tensors of one layer at a time, and the sampler's.

Checked against a public profile by vLLM of Llama-3-8B on 80 GB (8,192 tokens a step, 256 requests): 1.26 GiB, on one
GPU and on each of two alike, so that the sampler's tensors, which are on each GPU whole, were what was largest; 256
rows of 128,256 logits at `SAMPLER_BYTES` make that with the hidden states. The same profile had 1.79 GiB outside
PyTorch on one GPU and 3.58 on each of two: CUDA's context, its libraries' workspaces, NCCL's buffers. Versions since
may need less there. Another public log, of a Llama-3.1-70B with weights of 8 bits on one GPU, leaves 3.06 GiB for all
of this without CUDA graphs; here it makes 3.0.
"""

from engines.preflight.shape import DTYPE_BYTES, Shape

GIB = 1024**3

SAMPLER_BYTES = 39.0
"""Per logit while tokens are sampled: logits, their copy in float32, probabilities, sorted values and places."""

VERIFIER_BYTES = 10.0
"""Per logit of a drafted position: logits, their copy in float32, probabilities."""

OUTSIDE_TORCH = 1.8 * GIB
OUTSIDE_TORCH_PARALLEL = 3.6 * GIB
CUDA_GRAPHS = 0.7 * GIB
"""A public log of a 3.7 B model has .64 GiB."""


def activations_bytes(shape: Shape, dtype: str, *, step_tokens: int, batch: int, k: int, gpus: int) -> float:
    """The largest sum of tensors alive at once in a step of `step_tokens` tokens, on one of `gpus`, in bytes.

    Inference keeps nothing for a backward pass: a layer's tensors are freed before the next layer's are made, so
    neither the number of layers nor the context is a factor. Sampling `batch` requests, or verifying `k` drafts of
    each, comes after the last layer.
    """
    width = DTYPE_BYTES[dtype]
    states = 3 * step_tokens * shape.hidden * width
    rows = batch * shape.vocabulary
    sampling = max(rows * SAMPLER_BYTES, rows * (1 + k) * VERIFIER_BYTES)
    layer = step_tokens * width * max(_attention_numbers(shape), _feed_forward_numbers(shape)) / gpus
    return states + max(layer, sampling - 2 * step_tokens * shape.hidden * width)


def _attention_numbers(shape: Shape) -> int:
    """Queries, keys, values and the output of attention, per token."""
    if shape.latent is not None:
        return shape.heads * (2 * (shape.latent.nope_dim + shape.latent.rope_dim) + 2 * shape.latent.value_dim)
    return (2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim


def _feed_forward_numbers(shape: Shape) -> int:
    """Gate, up and their product, per token; of experts, those that a token is sent to."""
    if shape.experts is None:
        return 3 * shape.intermediate
    return max(3 * shape.intermediate, shape.experts.per_token * (3 * shape.experts.intermediate + shape.hidden))


def outside_bytes(gpus: int) -> float:
    """What a GPU holds that is neither weights, nor KV cache, nor tensors of a step."""
    return (OUTSIDE_TORCH_PARALLEL if gpus > 1 else OUTSIDE_TORCH) + CUDA_GRAPHS


def default_step_tokens(gpu_bytes: float) -> int:
    """vLLM 0.32's max_num_batched_tokens for its server, by the size of the GPU (an A100 of 80 GB: 2,048)."""
    if gpu_bytes >= 160 * GIB:
        return 16_384
    return 8_192 if gpu_bytes >= 70 * GIB else 2_048


def four_times_rule_bytes(shape: Shape, dtype: str, *, batch: int, context: int) -> float:
    """A rule of thumb: four tensors of hidden size, for each token of the whole context and each layer.

    That is what training keeps for the backward pass. It is here to be shown beside what inference needs.
    """
    return 4.0 * batch * context * shape.hidden * shape.layers * DTYPE_BYTES[dtype]
