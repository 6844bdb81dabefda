"""A drafter that has grown worse: the demo draft with noise in its weights, so that acceptance falls."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

NOISE = 1.0
"""Standard deviation of the noise over that of the weights; at 1 first drafts are accepted about half as often."""


def worn_copy(draft: Path, folder: Path, noise: float = NOISE, seed: int = 0) -> Path:
    """A copy of the drafter under `folder` whose layers carry Gaussian noise; the same for the same seed.

    Shapes, tokenizer and speed stay as they are: only what it proposes is worse, as when the target was fine-tuned
    and its drafter was not.
    """
    copy = folder / "worn"
    shutil.copytree(draft, copy, dirs_exist_ok=True)
    draws = torch.Generator().manual_seed(seed)
    weights = load_file(copy / "model.safetensors")
    for name, weight in weights.items():
        if ".layers." in name and weight.dim() == 2:
            weights[name] = weight + noise * weight.std() * torch.randn(weight.shape, generator=draws)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy
