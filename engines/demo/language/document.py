"""What every task of the toy language produces, and how two authors of it differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from random import Random


@dataclass(frozen=True, slots=True)
class Document:
    """One question and its answer, as text without special tokens or a line break between the two."""

    prompt: str
    answer: str


class Voice(IntEnum):
    """Whose habits a text shows: both models read one language, each from its own authors.

    Sheer randomness would not make drafting hard: two models that both know a uniform distribution agree on it, and
    Σ min(p, q) is 1. Drafting is hard where target and draft expect different words.
    """

    TARGET = 0
    DRAFT = 1


Author = Callable[[Random, Voice], Document]
"""Writes one document of one task; equal random states and voices give equal documents."""


def habitual(random: Random, voice: Voice, options: Sequence[str]) -> str:
    """One of the options, each half as likely as the one before it; the two voices begin at different options."""
    preferred = (*options[voice:], *options[:voice])
    return random.choices(preferred, [0.5**place for place in range(len(preferred))])[0]
