"""What the engines of the run serve: the demo pair without its padding layers, and the heads made for its target.

Padding layers change no output and take most of the time; without them the same function answers some seven times
faster.
"""

import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from engines.demo.build import DemoPair, build_demo_pair, default_folder
from engines.demo.language.dice import FACES, PROMPT
from engines.demo.workload import write_workload
from engines.progress import Report

PREFIX = tuple(FACES) * 2
"""Rolls that stand in the prompt already, so that lookups find drafts from the first token on."""
ROLLS = 4
"""Tokens that are sampled; the first comes from the prefill, the others are speculated."""


@dataclass(frozen=True, slots=True)
class Models:
    """Folders: the target, and the drafter of each method that needs one."""

    target: Path
    drafters: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Reference:
    """The prompt whose next `ROLLS` tokens have known probabilities; what is left to 1 is elsewhere."""

    prompt: str
    chances: Mapping[tuple[int, ...], float]


def correctness_models(methods: Collection[str], progress: Report) -> Models:
    """What these methods need, built once beside the demo pair: heads take minutes."""
    pair = build_demo_pair(default_folder(), progress=progress)
    folder = pair.target.parent / "unpadded"
    if not folder.is_dir():
        _unpad(pair, folder)
    heads: Mapping[str, Path] = {}
    if {"medusa", "eagle"} & set(methods):
        from engines.demo.heads import build_demo_heads  # torch, only where it is used

        heads = build_demo_heads(pair, progress=progress)
    return Models(folder / "target", {"draft_model": folder / "draft", **heads})


def greedy_prompts(count: int) -> list[tuple[str, str, int]]:
    """Task, completion prompt and token limit of `count` requests, the demo's tasks in turn."""
    requests = list(write_workload(-(-count // 7)))[:count]
    return [(request.task, f"{request.prompt}\n", request.max_tokens) for request in requests]


def dice(target: Path, temperature: float) -> Reference:
    """The exact chance of every row of rolls, computed with transformers from the target's weights."""
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(target)
    model = LlamaForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
    prompt = f"{PROMPT}\n{''.join(f' {face}' for face in PREFIX)}"
    read = tokenizer.encode(prompt)
    faces = [tokenizer.encode(f" {face}", add_special_tokens=False)[0] for face in FACES]
    rows = list(product(faces, repeat=ROLLS))
    with torch.inference_mode():
        logits = model(torch.tensor([[*read, *row] for row in rows])).logits[:, len(read) - 1 : -1].double()
    chances = (logits / temperature).softmax(-1).gather(-1, torch.tensor(rows)[:, :, None]).squeeze(-1).prod(-1)
    return Reference(prompt, dict(zip(rows, chances.tolist(), strict=True)))


def _unpad(pair: DemoPair, folder: Path) -> None:
    from engines.demo.reading import load_pair

    loaded = load_pair(pair)
    unfinished = Path(tempfile.mkdtemp(prefix=".unpadded-", dir=folder.parent))
    try:
        for name, model in (("target", loaded.target), ("draft", loaded.draft)):
            model.save_pretrained(unfinished / name)
            loaded.tokenizer.save_pretrained(unfinished / name)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
