"""Speculation heads for the tiny target: Medusa and EAGLE fitted to it by least squares, EAGLE-3 random.

The random target's next token hardly follows from the last one (a table of pairs guesses 5 % of them), so a linear
fit to its own greedy output is right in 4 %: drafts that are accepted now and then, as a test of the whole path needs.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tiny_pair import tiny_pair

K_MAX = 3
HEADS = ("medusa", "eagle", "eagle3")
SEQUENCES, LENGTH = 200, 48
RIDGE = 1e-2


def tiny_heads() -> dict[str, Path]:
    """A folder for each of `HEADS`, built on first use."""
    target = tiny_pair().target
    folder = target.parent / f"heads-{SEQUENCES}-{LENGTH}"
    if not folder.is_dir():
        building = Path(tempfile.mkdtemp(dir=folder.parent))
        _build(building, target)
        try:
            building.rename(folder)
        except OSError:  # somebody else was faster
            shutil.rmtree(building)
    return {name: folder / name for name in HEADS}


def _build(folder: Path, target: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(target, torch_dtype=torch.float32).eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        starts = torch.randint(2, model.config.vocab_size, (SEQUENCES, 4))
        tokens = model.generate(starts, max_new_tokens=LENGTH, do_sample=False, eos_token_id=None, pad_token_id=0)
        hidden = model.model(tokens).last_hidden_state
        for name, weights in (
            ("medusa", _medusa(model, hidden)),
            ("eagle", _eagle(model, tokens, hidden)),
            ("eagle3", _eagle3(model.config)),
        ):
            _save(folder / name, weights, _config(name, model.config))


def _medusa(model: Any, hidden: Any) -> dict[str, Any]:
    """Head i maps the hidden state of a token to the logits of the token i + 2 further on."""
    import torch

    size, weights = hidden.shape[-1], {}
    for i in range(K_MAX):
        seen, wanted = hidden[:, : -(i + 1)].reshape(-1, size), hidden[:, i + 1 :].reshape(-1, size)
        weights[f"blocks.{i}.layers.0.weight"] = torch.zeros(size, size)
        weights[f"lm_heads.{i}.weight"] = model.lm_head.weight @ _fit(seen, wanted).T
    return weights


def _eagle(model: Any, tokens: Any, hidden: Any) -> dict[str, Any]:
    """The first layer's input maps a token's embedding and the hidden state before it to the next hidden state."""
    import torch

    size = hidden.shape[-1]
    embedded = model.model.embed_tokens(tokens[:, 1:])
    seen = torch.cat((embedded, hidden[:, :-1]), dim=-1).reshape(-1, 2 * size)
    layer = _layer(model.config, attention_input=size)
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        layer[f"layers.0.{name}.weight"].zero_()
    del layer["layers.0.input_layernorm.weight"]
    return {"fc.weight": _fit(seen, hidden[:, 1:].reshape(-1, size)).T.contiguous(), **layer}


def _eagle3(config: Any) -> dict[str, Any]:
    import torch

    size = config.hidden_size
    layer = {name.replace("layers.0", "midlayer"): w for name, w in _layer(config, attention_input=2 * size).items()}
    return {
        **layer,
        "midlayer.hidden_norm.weight": torch.ones(size),
        "fc.weight": torch.randn(size, 2 * size) / size**0.5,
        "norm.weight": torch.ones(size),
        "lm_head.weight": torch.randn(config.vocab_size, size),
    }


def _layer(config: Any, attention_input: int) -> dict[str, Any]:
    import torch

    size, inner = config.hidden_size, config.intermediate_size
    shapes = {
        **{f"self_attn.{name}_proj": (size, attention_input) for name in "qkv"},
        "self_attn.o_proj": (size, size),
        "mlp.gate_proj": (inner, size),
        "mlp.up_proj": (inner, size),
        "mlp.down_proj": (size, inner),
    }
    matrices = {f"layers.0.{name}.weight": torch.randn(shape) / size**0.5 for name, shape in shapes.items()}
    norms = {f"layers.0.{name}_layernorm.weight": torch.ones(size) for name in ("input", "post_attention")}
    return {**matrices, **norms}


def _fit(seen: Any, wanted: Any) -> Any:
    """Ridge regression: W (inputs, outputs) with seen @ W near wanted."""
    import torch

    gram = seen.T @ seen + RIDGE * torch.eye(seen.shape[1])
    return torch.linalg.solve(gram, seen.T @ wanted)


def _config(name: str, target: Any) -> dict[str, object]:
    if name == "medusa":
        return {
            "model_type": "medusa",
            "architectures": ["MedusaModel"],
            "hidden_size": target.hidden_size,
            "vocab_size": target.vocab_size,
            "num_heads": K_MAX,
            "num_hidden_layers": 1,
        }
    described: dict[str, object] = {**target.to_dict(), "num_hidden_layers": 1}
    if name == "eagle3":
        described["eagle_config"] = {"eagle_aux_hidden_state_layer_ids": [0, 1], "use_aux_hidden_state": True}
    return described


def _save(folder: Path, weights: dict[str, Any], config: dict[str, object]) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, default=str))
