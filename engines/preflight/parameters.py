"""What a model's weights are made of: parts with their size and how tensor parallelism spreads them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engines.preflight.headers import FLOATS, Tensor
from engines.preflight.quantization import Quantization
from engines.preflight.shape import DTYPE_BYTES, Shape

Spread = Literal["split", "by_kv_head", "copied"]
"""Over the GPUs of tensor parallelism: cut evenly, cut by key-value heads (copied where there are fewer of them than
GPUs), or whole on each."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some weights: how many numbers, how they are spread, and whether they are a linear layer's, which quantization
    shrinks; `kept_bytes` where they stay as they lie on disk."""

    elements: int
    spread: Spread = "split"
    linear: bool = True
    kept_bytes: int | None = None


def parts_of_shape(shape: Shape) -> tuple[Part, ...]:
    """The parts that a configuration implies: Llama's layout, DeepSeek's latent attention, mixtures of experts,
    Medusa's and EAGLE's heads. Biases and norms of other families may add a thousandth."""
    if shape.medusa_heads:
        block = shape.hidden * (shape.hidden + 1) * shape.layers + shape.hidden * shape.vocabulary
        return (Part(shape.medusa_heads * block),)
    layers = tuple(part for index in range(shape.layers) for part in _layer(shape, index))
    if is_eagle(shape):
        return (*layers, *_eagle_extras(shape))
    embedding = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return (Part(embedding, linear=False), *layers, Part(shape.hidden, "copied", linear=False))


def mtp_parts(shape: Shape) -> tuple[Part, ...]:
    """The multi-token-prediction layers of a target: a layer each and a projection of two hidden states; the embedding
    and the output matrix are the target's own."""
    layers = (part for _ in range(shape.mtp_layers) for part in _layer(shape, shape.layers))
    return (*layers, *(Part(2 * shape.hidden**2, "copied") for _ in range(shape.mtp_layers)))


def is_eagle(shape: Shape) -> bool:
    """Whether it is a head over the target's hidden states: it has no embedding of its own to speak of."""
    return "eagle" in (shape.architecture + shape.family).lower()


def is_eagle3(shape: Shape) -> bool:
    """Whether that head is of the third kind, with a vocabulary of its own."""
    return is_eagle(shape) and ("3" in shape.architecture.lower().split("eagle")[-1] or bool(shape.draft_vocabulary))


def _eagle_extras(shape: Shape) -> tuple[Part, ...]:
    if not is_eagle3(shape):
        return (Part(2 * shape.hidden**2, "copied"),)
    projection = Part(3 * shape.hidden**2, "copied")
    wider = Part(shape.hidden * shape.head_dim * (shape.heads + 2 * shape.kv_heads))  # attention reads two states
    return (projection, wider, Part((shape.draft_vocabulary or shape.vocabulary) * shape.hidden, linear=False))


def _layer(shape: Shape, index: int) -> tuple[Part, ...]:
    norms = _norms(shape.family) * shape.hidden
    state = shape.state_parameters and index < len(shape.attends) and not shape.attends[index]
    mixer = (Part(shape.state_parameters),) if state else _attention(shape)
    if shape.family == "falcon_h1":  # both in each layer, side by side
        mixer = (*mixer, Part(shape.state_parameters))
    return (*mixer, *_feed_forward(shape, index), Part(norms, "copied", linear=False))


def _norms(family: str) -> int:
    """Norms of a layer: one where attention and feed-forward run side by side."""
    if family.startswith(("gemma2", "gemma3")):
        return 4
    return 1 if family in ("cohere", "cohere2", "falcon", "phi") else 2


GATED_ATTENTION = ("qwen3_next", "qwen3_5")
"""Families whose queries come with a gate of their size."""


def _attention(shape: Shape) -> tuple[Part, ...]:
    if shape.latent is not None:
        return _latent_attention(shape)
    width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    bias = shape.family.startswith("qwen2")
    normed = 2 * shape.head_dim if shape.family.startswith(("qwen3", "gemma3")) else 0
    outputs = 3 if shape.family.startswith(GATED_ATTENTION) else 2
    return (
        Part(outputs * shape.hidden * width + bias * width),
        Part(2 * (shape.hidden + bias) * kv_width, "by_kv_head"),
        Part(normed, "copied", linear=False),
    )


def _latent_attention(shape: Shape) -> tuple[Part, ...]:
    latent = shape.latent
    assert latent is not None
    query = shape.heads * (latent.nope_dim + latent.rope_dim)
    down = shape.hidden * (latent.rank + latent.rope_dim) + latent.rank
    up = latent.rank * shape.heads * (latent.nope_dim + latent.value_dim)
    out = shape.heads * latent.value_dim * shape.hidden
    if latent.query_rank is None:
        return (Part(shape.hidden * query + up + out), Part(down, "copied"))
    query_down = shape.hidden * latent.query_rank + latent.query_rank
    return (Part(latent.query_rank * query + up + out), Part(query_down + down, "copied"))


def _feed_forward(shape: Shape, index: int) -> tuple[Part, ...]:
    matrices = 2 if shape.family in NOT_GATED else 3
    experts = shape.experts
    if experts is None or (index < len(experts.layers) and not experts.layers[index]):
        return (Part(matrices * shape.hidden * shape.intermediate),)
    gate = shape.hidden if experts.shared_intermediate and shape.family.startswith(("qwen2", "qwen3")) else 0
    router = experts.count * (shape.hidden + experts.corrected) + gate
    routed = experts.count * matrices * shape.hidden * experts.intermediate
    return (
        Part(routed + matrices * shape.hidden * experts.shared_intermediate),
        Part(router, "copied", linear=False),
    )


NOT_GATED = frozenset(
    {"gpt2", "gpt_neox", "gptj", "opt", "phi", "falcon", "bloom", "starcoder2", "mpt", "gpt_bigcode", "nemotron"}
)
"""Families whose feed-forward layers have two matrices; the others have a gate too."""


COUNTED = frozenset(
    {
        *("llama", "llama4_text", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen2_5_vl", "qwen2_vl", "qwen3"),
        *("qwen3_moe", "qwen3_next", "qwen3_vl", "qwen3_vl_text", "gemma", "gemma2", "gemma3_text", "phi", "phi3"),
        *("phimoe", "deepseek_v3", "kimi_k2", "glm4", "glm4_moe", "gpt_oss", "gpt2", "gpt_bigcode", "starcoder2"),
        *("cohere", "cohere2", "granite", "olmo2", "falcon", "falcon_h1", "jamba", "opt", "smollm3", "seed_oss"),
        *("ernie4_5", "nemotron", "minimax_m2"),
    }
)
"""Families of which a public model's count was compared with that of its weights; of others it is a guess at most."""


def parameters(shape: Shape) -> int:
    """How many numbers a configuration describes."""
    return sum(part.elements for part in parts_of_shape(shape))


def active_parameters(shape: Shape) -> int:
    """How many of them one token uses: of the experts only those it is sent to."""
    experts = shape.experts
    if experts is None:
        return parameters(shape)
    idle = (experts.count - experts.per_token) * 3 * shape.hidden * experts.intermediate
    return parameters(shape) - idle * sum(experts.layers)


_LAYER = re.compile(r"^(?:language_model\.)?model\.(?:language_model\.)?layers\.(\d+)\.")
_COPIED = re.compile(r"norm|(^|\.)ln_|router|mlp\.gate\.|\.gate\.weight|q_a_proj|kv_a_proj|e_score|eh_proj|(^|\.)fc\.")
_BY_KV_HEAD = re.compile(r"(^|\.)(k_proj|v_proj)\.")
_EMBEDDING = re.compile(r"embed|lm_head|(^|\.)wte\.|norm")


def parts_of_tensors(tensors: Iterable[Tensor], shape: Shape) -> tuple[Part, ...]:
    """The parts of a checkpoint as vLLM loads it: a tied output matrix and the layers for multi-token prediction are
    left out."""
    shrinks = shape.quantization is not None and shape.quantization.loading
    return tuple(_part(tensor, shrinks) for tensor in tensors if not _skipped(tensor.name, shape))


def _skipped(name: str, shape: Shape) -> bool:
    if shape.tied and name.endswith("lm_head.weight"):
        return True
    layer = _LAYER.match(name)
    return layer is not None and int(layer[1]) >= shape.layers > 0 and not is_eagle(shape)


def _part(tensor: Tensor, shrinks: bool) -> Part:
    """A tensor's part; `shrinks`: vLLM quantizes as it loads (what a quantized checkpoint left alone stays so)."""
    spread: Spread = "split"
    if _COPIED.search(tensor.name):
        spread = "copied"
    elif _BY_KV_HEAD.search(tensor.name):
        spread = "by_kv_head"
    converted = tensor.dtype in FLOATS and tensor.name.endswith((".weight", ".bias"))
    linear = shrinks and converted and len(tensor.shape) > 1 and not _EMBEDDING.search(tensor.name)
    return Part(tensor.elements, spread, linear, None if converted else tensor.size_bytes)


def weights_bytes(
    parts: Iterable[Part], shape: Shape, dtype: str, quantization: Quantization | None, gpus: int
) -> float:
    """Bytes of the parts on one of `gpus` that share them by tensor parallelism, run as `dtype`."""
    total, width = 0.0, DTYPE_BYTES[dtype]
    for part in parts:
        bits = quantization.bits if quantization is not None and part.linear else 8 * width
        size = part.elements * bits / 8 if part.kept_bytes is None else part.kept_bytes
        total += size / _pieces(part.spread, shape, gpus)
    return total


def _pieces(spread: Spread, shape: Shape, gpus: int) -> int:
    if spread == "copied":
        return 1
    return min(gpus, max(1, shape.kv_heads)) if spread == "by_kv_head" else gpus
