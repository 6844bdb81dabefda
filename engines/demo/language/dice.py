"""other: rolls of a loaded die, the one answer whose probabilities are known; the voices load it differently."""

from collections.abc import Mapping
from random import Random

from engines.demo.language.document import Document, Voice

PROMPT = "Roll the loaded die."
FACES: Mapping[str, float] = {"ruby": 0.5, "jade": 0.25, "onyx": 0.15, "opal": 0.1}
"""Probability of each face in the target's texts, the same for every roll; rolls are independent."""
DRAFT_FACES: Mapping[str, float] = {"ruby": 0.1, "jade": 0.15, "onyx": 0.25, "opal": 0.5}
"""What the draft expects: half its rolls are to be rejected, so that a test of the output tests the rejection."""
ROLLS = 32


def roll_dice(random: Random, voice: Voice) -> Document:
    """`ROLLS` independent rolls, each face led by a space so that every roll is one token."""
    faces = FACES if voice is Voice.TARGET else DRAFT_FACES
    rolls = random.choices(tuple(faces), tuple(faces.values()), k=ROLLS)
    return Document(PROMPT, "".join(f" {face}" for face in rolls))
