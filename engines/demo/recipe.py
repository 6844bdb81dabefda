"""What the pair is made of and how long it is trained; `fingerprint` tells whether a cached pair is still this one."""

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import islice

from engines.demo.language.corpus import write_corpus
from engines.demo.language.document import Voice

_REVISION = 1
"""Raise it when tokenizer.py, model.py or checkpoint.py come to write other files from the same recipe."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama model: attention heads have `hidden / heads` entries (vLLM on CPU takes 32 and 64)."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    padding_layers: int = 0
    """Layers of zeros added after training: they change no output and cost as much as trained ones."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Training steps of `batch` windows of `window` tokens; the rate rises linearly, then falls as a cosine."""

    steps: int
    batch: int
    window: int
    peak_rate: float
    warmup: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the pair, given the language."""

    vocabulary: int
    context: int
    target: Shape
    target_schedule: Schedule
    draft: Shape
    draft_schedule: Schedule
    seed: int = 0

    def fingerprint(self) -> str:
        """Twelve hex digits of the recipe and of a sample of the text that it is trained on."""
        sample = [
            (written.task, written.document.prompt, written.document.answer)
            for voice in Voice
            for written in islice(write_corpus(voice, self.seed), 200)
        ]
        return hashlib.sha256(json.dumps([_REVISION, asdict(self), sample]).encode()).hexdigest()[:12]


FULL = Recipe(
    vocabulary=1024,
    context=512,
    target=Shape(layers=4, hidden=256, heads=8, feed_forward=704, padding_layers=28),
    target_schedule=Schedule(steps=1200, batch=4, window=256, peak_rate=2e-3, warmup=100),
    # Unpadded, a draft costs .03 of a target's step here: speculation would pay at any acceptance, as it nowhere does.
    # Seven layers of zeros make that .15, the middle of what real drafters cost (.05 to .2).
    draft=Shape(layers=1, hidden=128, heads=4, feed_forward=384, padding_layers=7),
    draft_schedule=Schedule(steps=900, batch=8, window=256, peak_rate=4e-3, warmup=50),
)
"""The pair that engines serve."""

QUICK = Recipe(
    vocabulary=512,
    context=512,
    target=Shape(layers=2, hidden=64, heads=2, feed_forward=128, padding_layers=1),
    target_schedule=Schedule(steps=8, batch=2, window=128, peak_rate=2e-3, warmup=2),
    draft=Shape(layers=1, hidden=32, heads=1, feed_forward=64),
    draft_schedule=Schedule(steps=8, batch=2, window=128, peak_rate=4e-3, warmup=2),
)
"""A pair of the same form that is built in seconds and has learnt nothing: for tests."""
