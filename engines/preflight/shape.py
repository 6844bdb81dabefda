"""A model's shape: what its config.json says that memory and fit depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.preflight.errors import PreflightError
from engines.preflight.families import defaults_of, family_of
from engines.preflight.files import printable, read_mapping
from engines.preflight.layers import attending, state_parameters, windows, with_experts
from engines.preflight.quantization import Quantization, read_quantization

DTYPE_BYTES = {"float32": 4.0, "float16": 2.0, "half": 2.0, "bfloat16": 2.0, "float": 4.0}
"""Bytes of each type that vLLM runs with (`--dtype`)."""


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention (DeepSeek): keys and values are kept as one compressed vector per token."""

    query_rank: int | None
    rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: all of them lie in memory, `per_token` are used."""

    count: int
    per_token: int
    intermediate: int
    shared_intermediate: int
    layers: tuple[bool, ...]
    """Per layer whether it has them."""
    corrected: bool
    """Whether the router has a bias per expert (DeepSeek-V3)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One model. `windows` has an entry per attention layer: its sliding window in tokens, or None for all tokens.

    `context` is the longest that vLLM takes, None where its configuration does not say; `usual_context` what it takes
    where it is told nothing. `attends` says of every layer
    whether it is one of those with keys and values; the others have `state_parameters` in place of attention.
    """

    family: str
    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    dtype: str
    tied: bool
    windows: tuple[int | None, ...]
    context: int | None = None
    latent: Latent | None = None
    experts: Experts | None = None
    quantization: Quantization | None = None
    medusa_heads: int = 0
    mtp_layers: int = 0
    draft_vocabulary: int | None = None
    attends: tuple[bool, ...] = ()
    state_parameters: int = 0
    usual_context: int | None = None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder; raises PreflightError where it is missing, unreadable or no JSON mapping."""
    return read_mapping(folder / "config.json")


def shape_of(config: Mapping[str, Any], where: str = "config.json") -> Shape:
    """The shape that a configuration describes; raises PreflightError naming the field that is missing or wrong."""
    inner = _inner(config)
    text = {**config, **inner}
    if "medusa_num_heads" in text:
        return _medusa(text, where)
    family = printable(family_of(config, inner))
    text |= {"model_type": family, **defaults_of(family, text)}
    field = _Fields(text, where)
    hidden = field.counted("hidden_size", "n_embd", "d_model")
    heads = field.counted("num_attention_heads", "n_head", "n_heads")
    layers = field.counted("num_hidden_layers", "n_layer", "n_layers", "num_layers", largest=MOST_LAYERS)
    context = _context(field, family)
    return Shape(
        family=family,
        architecture=_architecture(config),
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=_kv_heads(field, heads),
        head_dim=field.number("head_dim", default=hidden // heads) or hidden // heads,
        intermediate=field.number(
            "intermediate_size_mlp", "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", default=4 * hidden
        ),
        vocabulary=field.counted("vocab_size"),
        dtype=_dtype(text, where),
        tied=bool(text.get("tie_word_embeddings")),
        windows=windows(text, layers, family),
        context=context,
        latent=_latent(field) if text.get("kv_lora_rank") else None,
        experts=_experts(field, layers),
        quantization=read_quantization(text.get("quantization_config"), where),
        mtp_layers=field.number("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", default=0),
        draft_vocabulary=field.number("draft_vocab_size", default=0) or None,
        attends=attending(text, layers),
        state_parameters=state_parameters(text, hidden),
        usual_context=_unscaled(field) or context,
    )


MOST_LAYERS, MOST = 10_000, 10**9
"""Beyond these a configuration is damaged, not large."""


def _architecture(config: Mapping[str, Any]) -> str:
    if kind := config.get("speculators_model_type"):
        # `architectures` names the class it was trained with; vLLM runs P-EAGLE as EAGLE-3.
        return printable(f"{'eagle3' if kind == 'peagle' else kind}".title() + "Speculator")
    named = config.get("architectures")
    return printable(str(named[0])) if isinstance(named, list) and named else "unknown"


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model inside a multimodal configuration, or the layers of a head in the speculators format."""
    inner = config.get("text_config") or config.get("llm_config") or config.get("transformer_layer_config") or {}
    return inner if isinstance(inner, Mapping) else {}


def _dtype(text: Mapping[str, Any], where: str) -> str:
    dtype = str(text.get("dtype") or text.get("torch_dtype") or "float32").removeprefix("torch.")
    if dtype not in DTYPE_BYTES:
        raise PreflightError(f"{where}: unknown dtype {dtype!r}; known are {', '.join(sorted(DTYPE_BYTES))}")
    return dtype


def _kv_heads(field: "_Fields", heads: int) -> int:
    """Falcon's newer layout ignores `multi_query`."""
    if field.values.get("multi_query") and not field.values.get("new_decoder_architecture"):
        return field.number("num_key_value_heads", default=1)
    return field.number("num_key_value_heads", "num_kv_heads", "n_head_kv", default=heads)


LENGTHS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"),
    *("max_sequence_length", "max_seq_length", "seq_len"),
)
ALREADY_SCALED = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})


def _context(field: "_Fields", family: str) -> int | None:
    """The longest context that vLLM 0.32 takes: the least length named, model_max_length before all others.

    Where rotary positions are scaled it multiplies by the factor, except for kinds whose lengths are scaled already
    (YaRN was not among them before 0.32) and for Gemma-3.
    """
    named = [found for name in LENGTHS if (found := field.number(name, default=0))]
    longest = field.number("model_max_length", default=0) or min(named, default=0)
    scaling = field.values.get("rope_scaling") or field.values.get("rope_parameters")
    if isinstance(scaling, Mapping) and "gemma3" not in family:
        kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
        if factor is not None and (type(factor) not in (int, float) or not 0 < factor <= MOST):
            raise PreflightError(f"{field.where}: the factor of rope_scaling is {factor!r}, it must be above 0")
        if kind not in ALREADY_SCALED and factor is not None:
            longest = int(factor * longest)
    return max(longest, field.number("model_max_length", default=0)) or None


def _unscaled(field: "_Fields") -> int:
    """Phi's length before LongRoPE: vLLM goes beyond it only where a context is asked for, as short ones suffer."""
    scaling = field.values.get("rope_scaling") or field.values.get("rope_parameters")
    kind = (scaling.get("rope_type") or scaling.get("type")) if isinstance(scaling, Mapping) else None
    return field.number("original_max_position_embeddings", default=0) if kind in ("su", "longrope") else 0


def _latent(field: "_Fields") -> Latent:
    return Latent(
        query_rank=field.number("q_lora_rank", default=0) or None,
        rank=field.number("kv_lora_rank"),
        rope_dim=field.number("qk_rope_head_dim"),
        nope_dim=field.number("qk_nope_head_dim"),
        value_dim=field.number("v_head_dim"),
    )


def _experts(field: "_Fields", layers: int) -> Experts | None:
    count = field.number("n_routed_experts", "num_local_experts", "num_experts", default=0)
    if count < 2:
        return None
    intermediate = field.number("moe_intermediate_size", "intermediate_size")
    always = 1 if "interleave_moe_layer_step" in field.values else 0  # Llama 4 does not name its shared expert
    shared = field.number("n_shared_experts", default=always) * intermediate
    return Experts(
        count=count,
        per_token=field.number("num_experts_per_tok", "num_experts_per_token", "moe_topk", default=2),
        intermediate=intermediate,
        shared_intermediate=field.number("shared_expert_intermediate_size", default=shared),
        layers=with_experts(field.values, layers),
        corrected=field.values.get("topk_method") == "noaux_tc",
    )


def _medusa(text: Mapping[str, Any], where: str) -> Shape:
    """Medusa's heads: residual blocks over the target's last hidden state, each with an output matrix; no keys, no
    values."""
    field = _Fields(text, where)
    hidden = field.number("hidden_size")
    return Shape(
        family="medusa",
        architecture="MedusaModel",
        layers=field.number("medusa_num_layers", "num_hidden_layers", default=1),
        hidden=hidden,
        heads=1,
        kv_heads=0,
        head_dim=hidden,
        intermediate=hidden,
        vocabulary=field.number("vocab_size"),
        dtype=_dtype({**text, "dtype": text.get("dtype") or text.get("torch_dtype") or "float16"}, where),
        tied=False,
        windows=(),
        medusa_heads=field.number("medusa_num_heads", "num_heads"),
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """Whole numbers of a configuration under whichever of its names they are there."""

    values: Mapping[str, Any]
    where: str

    def number(self, *names: str, default: int | None = None) -> int:
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if type(value) is not int or not 0 <= value <= MOST:
                raise PreflightError(f"{self.where}: {name} is {value!r}, it must be a whole number up to {MOST:,}")
            return value
        if default is None:
            raise PreflightError(f"{self.where} has no {names[0]}: not the configuration of a language model")
        return default

    def counted(self, *names: str, largest: int = MOST) -> int:
        """A number that must be there and above 0."""
        value = self.number(*names)
        if not 0 < value <= largest:
            raise PreflightError(f"{self.where}: {names[0]} is {value!r}, it must be from 1 to {largest:,}")
        return value
