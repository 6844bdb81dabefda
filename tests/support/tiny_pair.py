"""A random Llama pair of a few hundred kilobytes: real weights for real vLLM, made in seconds, trained on nothing."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

VOCABULARY = 320
SHAPE = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}  # heads of 32
SHARPNESS = 2.5
"""Scale of the output layer: tokens get probabilities a language model could have, not nearly equal ones."""
NOISE = 0.06
"""Relative noise that makes the drafter of the target: they agree often, not always."""


@dataclass(frozen=True, slots=True)
class TinyPair:
    """Two Hugging Face folders."""

    target: Path
    drafter: Path


def tiny_pair(cache: Path | None = None) -> TinyPair:
    """The pair, built on first use; `cache` is a folder of the system's temporary one unless given."""
    folder = (cache or Path(tempfile.gettempdir())) / f"alpharoute-tiny-pair-{SHARPNESS}-{NOISE}"
    if not folder.is_dir():
        building = Path(tempfile.mkdtemp(dir=folder.parent))
        _build(building)
        try:
            building.rename(folder)
        except OSError:  # somebody else was faster
            shutil.rmtree(building)
    return TinyPair(folder / "target", folder / "drafter")


def _build(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        num_key_value_heads=SHAPE["num_attention_heads"],
        max_position_embeddings=1024,
        initializer_range=0.1,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        **SHAPE,
    )
    generator = torch.Generator().manual_seed(11)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(SHARPNESS)
        model.save_pretrained(folder / "target")
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * NOISE)
        model.save_pretrained(folder / "drafter")
    for name in ("target", "drafter"):
        _save_tokenizer(folder / name)


def _save_tokenizer(folder: Path) -> None:
    """Byte-level, with as many ids as the model has, so that every sampled token can be shown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    symbols = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    symbols += [f"<extra{i}>" for i in range(VOCABULARY - len(symbols))]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
