"""Model folders as preflight reads them: configurations of public models, tokenizers and safetensors headers."""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parent.parent / "engines" / "model_configs"
WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I32": 4, "I64": 8}


def public_config(name: str) -> dict[str, Any]:
    """The figures of a public model's config.json."""
    found: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return found


def folder_of(parent: Path, config: str | dict[str, Any], name: str = "model", **changes: Any) -> Path:
    """A folder with a configuration, of a public model by name or as given; `changes` replace its fields."""
    folder = parent / name
    folder.mkdir()
    values = public_config(config) if isinstance(config, str) else config
    (folder / "config.json").write_text(json.dumps({**values, **changes}))
    return folder


def safetensors(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> Path:
    """A safetensors file of zeros, sparse on disk: {name: (dtype, shape)}."""
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = prod(shape) * WIDTH.get(dtype, 1)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def tokenizer(folder: Path, words: list[str], eos: str = "</s>", template: str | None = None) -> None:
    """A word-level tokenizer with these words in this order, its end token last."""
    vocabulary = {word: number for number, word in enumerate([*words, eos])}
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": words[0]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {"eos_token": eos} | ({"chat_template": template} if template else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
