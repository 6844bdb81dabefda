"""What a configuration leaves out: the defaults of its family, as transformers' configuration classes have them.

Published configurations rely on them: Gemma-3's name neither their vocabulary nor, the smallest, their heads. They are
kept in a file, so that nothing is imported; `python -m bench.preflight.families` writes it from an installed vLLM.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engines.preflight.files import read_mapping

SAME = (
    ("hidden_size", "n_embd", "d_model"),
    ("num_attention_heads", "n_head", "n_heads"),
    ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    ("max_position_embeddings", "n_positions", "max_seq_len"),
    ("num_experts", "num_local_experts", "n_routed_experts"),
)
"""Names of one thing: a configuration that has one of them needs no default for the others."""

FIELDS = frozenset(
    {
        *(name for names in SAME for name in names),
        *("vocab_size", "head_dim", "tie_word_embeddings", "sliding_window", "use_sliding_window", "multi_query"),
        *("num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size", "n_shared_experts"),
        *("first_k_dense_replace", "decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step"),
        *("intermediate_size_mlp", "expert_layer_period", "expert_layer_offset"),
        *("attn_layer_period", "attn_layer_offset", "kv_lora_rank", "q_lora_rank"),
        *("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "expansion_ratio", "new_decoder_architecture"),
        *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"),
        *(
            "linear_conv_kernel_dim",
            "mamba_expand",
            "mamba_d_state",
            "mamba_d_conv",
            "mamba_d_ssm",
            "mamba_n_heads",
            "mamba_n_groups",
        ),
    }
)
"""Which defaults are kept: what a shape is read from."""


def family_of(config: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    """The language model's family: its own name, else the one that its multimodal family has for it."""
    outer = str(config.get("model_type", "unknown"))
    if not inner:
        return outer
    return str(inner.get("model_type") or _known()["inner"].get(outer, outer))


def defaults_of(family: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a family for what is not `given`, under any of its names; a field given as null stays so."""
    known = _known()
    found = known["defaults"].get(known["inner"].get(family, family), {})
    named = set(given)
    named.update(name for names in SAME if not named.isdisjoint(names) for name in names)
    return {name: value for name, value in found.items() if name not in named}


@cache
def _known() -> dict[str, Any]:
    return read_mapping(Path(__file__).with_name("families.json"))
