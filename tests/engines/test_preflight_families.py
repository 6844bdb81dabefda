"""Configurations as published, with what they leave out: read as vLLM reads them, counted as their weights are."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from models_on_disk import folder_of

from engines.preflight.cache import caches, token_bytes
from engines.preflight.families import defaults_of
from engines.preflight.layers import attending, with_experts
from engines.preflight.memory import Plan
from engines.preflight.parameters import COUNTED, active_parameters, parameters
from engines.preflight.report import Wanted, examine
from engines.preflight.shape import Shape, shape_of

FAMILIES: dict[str, Any] = json.loads((Path(__file__).parent / "model_configs" / "families.json").read_text())
"""Per model its configuration and its figures: parameters of transformers' own model (of the language model where it
has a vision tower), the rest as vLLM 0.32 derives it."""


def shape(name: str, **changes: Any) -> Shape:
    """The shape of one of them."""
    return shape_of({**FAMILIES[name]["config"], **changes})


@pytest.mark.parametrize("name", FAMILIES)
def test_a_published_configuration_is_read_as_vllm_reads_it(name: str) -> None:
    """Context, heads, vocabulary, attention layers, experts, tied embeddings; the count within half a percent."""
    found, said = shape(name), FAMILIES[name]["figures"]
    assert found.context == said["context"]
    assert found.usual_context == said["usual_context"]
    assert (found.layers, found.vocabulary) == (said["layers"], said["vocabulary"])
    assert found.latent or (found.kv_heads, found.head_dim) == (said["kv_heads"], said["head_dim"])
    assert len(found.windows) == said["attending"]
    assert (found.experts.count if found.experts else 0) == said["experts"]
    assert found.tied == said["tied"]
    assert parameters(found) == pytest.approx(said["parameters"], rel=5e-3)
    assert found.family in COUNTED


@pytest.mark.parametrize(
    ("name", "billions"),
    [("llama-4-maverick", 17.2), ("llama-4-scout", 17.2), ("qwen3-next-80b", 3.9), ("jamba-mini", 12.1)],
)
def test_a_token_uses_the_experts_of_layers_that_have_them(name: str, billions: float) -> None:
    """Every layer, every other one; shared experts always."""
    assert active_parameters(shape(name)) / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"moe_layer_freq": [0, 1, 1, 0]}, [False, True, True, False]),
        ({"moe_layers": [1, 3]}, [False, True, False, True]),
        ({"mlp_only_layers": [0], "decoder_sparse_step": 2}, [False, True, False, True]),
        ({"first_k_dense_replace": 1, "moe_layer_freq": 2}, [False, False, True, False]),
        ({"decoder_sparse_step": 0, "moe_layer_freq": -1, "moe_layers": "odd"}, [True] * 4),
    ],
)
def test_layers_with_experts(fields: dict[str, object], expected: list[bool]) -> None:
    """However a configuration names them; nonsense names none."""
    assert list(with_experts(fields, 4)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"hybrid_override_pattern": "M-*E"}, [False, False, True, False]),
        ({"attn_layer_indices": [2]}, [False, False, True, False]),
        ({"attn_layer_period": 2, "attn_layer_offset": 1}, [False, True, False, True]),
        ({"full_attention_interval": 4}, [False, False, False, True]),
        ({"full_attention_interval": 0, "attn_layer_period": 0}, [True] * 4),
    ],
)
def test_layers_that_attend(fields: dict[str, object], expected: list[bool]) -> None:
    """Nemotron-H, Bamba, Jamba and Qwen3-Next each in its own way."""
    assert list(attending(fields, 4)) == expected


def test_only_layers_that_attend_keep_a_cache() -> None:
    """Qwen3-Next: 12 of 48 layers, 2 heads of 256 each."""
    assert token_bytes(caches(shape("qwen3-next-80b"), 2.0, 1)) == 12 * 2 * 2 * 256 * 2


def test_windows_follow_the_family_where_nothing_is_said() -> None:
    """Gemma-3 4B names a window and no pattern: of each six layers the last sees everything."""
    found = shape("gemma-3-4b-it").windows
    assert found[:6] == (1024,) * 5 + (None,)
    assert sum(window is None for window in found) == 5


def test_a_field_given_as_null_gets_no_default() -> None:
    """Mistral's family has a window of 4,096; a configuration that says null has none. Other names count as given."""
    assert "sliding_window" in defaults_of("mistral", {})
    assert "sliding_window" not in defaults_of("mistral", {"sliding_window": None})
    assert "n_embd" not in defaults_of("gpt2", {"hidden_size": 768})
    assert defaults_of("a family that nobody knows", {}) == {}


@pytest.mark.parametrize(("kind", "longest"), [("linear", 131_072), ("dynamic", 131_072), ("yarn", 32_768)])
def test_positions_are_scaled_as_vllm_0_32_does(kind: str, longest: int) -> None:
    """By the factor, but for YaRN, whose lengths it takes as scaled already."""
    scaling = {"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 32_768}
    assert shape("qwen2.5-7b-yarn", rope_scaling=scaling).context == longest


def test_weights_of_a_layout_that_is_not_known_are_no_refusal(tmp_path: Path) -> None:
    """Counted as if laid out like Llama they exceed the GPU: told, for it may be a false alarm."""
    config = {**FAMILIES["qwen2.5-72b"]["config"], "model_type": "new_family"}
    known, guessed = (
        examine(Wanted(str(folder_of(tmp_path, one, name))), Plan(80 * 2**30))
        for one, name in ((FAMILIES["qwen2.5-72b"]["config"], "a"), (config, "b"))
    )
    assert [finding.check for finding in known.refusals] == ["memory"]
    assert not guessed.refusals
    assert any("layout is not known" in finding.text for finding in guessed.warnings)


@pytest.mark.vllm
def test_the_defaults_are_those_of_the_installed_vllm() -> None:
    """The file is what the command would write now; another version of vLLM or transformers may ask for it again.

    In a process of its own, as the command: once vLLM has read a configuration, some classes are its own.
    """
    pytest.importorskip("vllm")
    from bench.preflight.families import FILE, read_families

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        found = fresh.submit(read_families).result()
    assert json.loads(FILE.read_text()) == found, "run `python -m bench.preflight.families`"


@pytest.mark.vllm
def test_the_figures_are_those_that_the_installed_vllm_derives(tmp_path: Path) -> None:
    """Of each configuration: its longest context, layers, heads and vocabulary."""
    pytest.importorskip("vllm")
    import vllm.config.model as lengths
    from vllm.transformers_utils.config import get_config, get_hf_text_config
    from vllm.transformers_utils.model_arch_config_convertor import (
        MODEL_ARCH_CONFIG_CONVERTORS,
        ModelArchConfigConvertorBase,
    )

    for name, known in FAMILIES.items():
        config = get_config(str(folder_of(tmp_path, known["config"], name)), trust_remote_code=False)
        text, said = get_hf_text_config(config), known["figures"]
        convertor = MODEL_ARCH_CONFIG_CONVERTORS.get(config.model_type, ModelArchConfigConvertorBase)
        found = convertor(config, text).convert()
        assert (found.total_num_hidden_layers, found.vocab_size) == (said["layers"], said["vocabulary"]), name
        assert (found.total_num_kv_heads, found.head_size) == (said["kv_heads"], said["head_dim"]), name
        longest = said["context"]
        assert lengths._get_and_verify_max_len(text, found, None, None, False, None) == said["usual_context"], name
        assert lengths._get_and_verify_max_len(text, found, None, longest, False, None) == longest, name
        with pytest.raises(ValueError, match="is greater than the derived"):
            lengths._get_and_verify_max_len(text, found, None, longest + 1, False, None)
