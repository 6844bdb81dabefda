"""The reference for a test of sampled output: prompts whose next tokens have known probabilities.

The die's nominal probabilities are those of the text the target read; what an engine must reproduce are those the
target learnt, which this file computes exactly with transformers. The draft learnt another die, so most of its
drafts are rejected and the replacement of a rejected token is tested as much as its acceptance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from engines.demo.build import DemoPair
from engines.demo.language.dice import FACES, PROMPT


@dataclass(frozen=True, slots=True)
class DiceReference:
    """The exact distribution of the first `rolls` output tokens after `prompt` at one temperature.

    `sequences` maps a row of faces to its probability; `elsewhere` is what is left for outputs with another token.
    """

    prompt: str
    temperature: float
    rolls: int
    nominal: Mapping[str, float]
    sequences: Mapping[tuple[str, ...], float]
    elsewhere: float


def dice_reference(pair: DemoPair, temperature: float, rolls: int = 3) -> DiceReference:
    """Reference for `rolls` tokens: send `prompt` as one user message or with a line break as a completion prompt.

    The first token of an output comes from the prefill, so `rolls` of at least 2 reach speculated tokens.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature!r}: a distribution needs one above 0")
    from engines.demo.reading import load_pair, probabilities, prompt_tokens  # torch, only where it is used

    loaded = load_pair(pair)
    prompt = prompt_tokens(loaded, PROMPT)
    tokens = {face: loaded.tokenizer.encode(f" {face}", add_special_tokens=False)[0] for face in FACES}
    sequences = {}
    for faces in product(FACES, repeat=rolls):
        rolled = [tokens[face] for face in faces]
        rows = probabilities(loaded.target, prompt + rolled, len(prompt), temperature)
        sequences[faces] = float(rows[range(rolls), rolled].prod())
    return DiceReference(PROMPT, temperature, rolls, FACES, sequences, max(0.0, 1 - sum(sequences.values())))


def read_rolls(output: str, rolls: int) -> tuple[str, ...] | None:
    """The first faces of an output's text, or None where another token came between."""
    faces = tuple(output.split())[:rolls]
    return faces if len(faces) == rolls and all(face in FACES for face in faces) else None
