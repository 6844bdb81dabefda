"""From a recipe to the two finished folders: tokenizer, draft, target."""

import os
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer

from engines.demo.checkpoint import save_checkpoint
from engines.demo.language.corpus import write_corpus
from engines.demo.language.document import Voice
from engines.demo.model import llama_config, pack, train
from engines.demo.recipe import Recipe, Schedule, Shape
from engines.demo.tokenizer import save_tokenizer, train_tokenizer
from engines.progress import Report

_TOKENIZER_DOCUMENTS = 4000
_MOST_THREADS = 8


def train_pair(folder: Path, recipe: Recipe, progress: Report) -> None:
    """Write `folder`/target and `folder`/draft; equal recipes on one machine give equal files."""
    torch.set_num_threads(min(_MOST_THREADS, len(os.sched_getaffinity(0))))
    read = islice(write_corpus(Voice.TARGET, recipe.seed), _TOKENIZER_DOCUMENTS)
    tokenizer = train_tokenizer((written.document for written in read), recipe.vocabulary)

    def learn(name: str, shape: Shape, schedule: Schedule, voice: Voice) -> None:
        train_into(folder / name, tokenizer, recipe, shape, schedule, voice, progress)

    learn("draft", recipe.draft, recipe.draft_schedule, Voice.DRAFT)
    learn("target", recipe.target, recipe.target_schedule, Voice.TARGET)


def train_into(
    folder: Path,
    tokenizer: Tokenizer,
    recipe: Recipe,
    shape: Shape,
    schedule: Schedule,
    voice: Voice,
    progress: Report,
) -> None:
    """Train one model on what `voice` writes and save it with its tokenizer as `folder`, reported as its name."""
    documents = (written.document for written in write_corpus(voice, recipe.seed + 1))
    done = 0

    def count(_loss: float) -> None:
        nonlocal done
        done += 1
        progress(f"training the {folder.name}", done, schedule.steps)

    config = llama_config(shape, tokenizer, recipe.context)
    model = train(config, pack(documents, tokenizer, schedule), schedule, recipe.seed, count)
    save_checkpoint(model, shape.padding_layers, folder)
    save_tokenizer(tokenizer, folder, recipe.context)
