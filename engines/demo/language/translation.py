"""translation: word for word into an invented tongue, of which the two voices speak different dialects."""

from itertools import product
from random import Random

from engines.demo.language.document import Document, Voice

_FRAME = "the {} {} {} {} a {} {} {} {} the {} {} with a {} {} {}"
_CHOICES = (
    ("old", "young", "poor", "happy"),
    ("king", "queen", "sailor", "farmer", "baker"),
    ("quietly", "often", "never"),
    ("finds", "takes", "sells", "hides"),
    ("big", "small", "golden"),
    ("red", "blue", "green", "white"),
    ("ship", "ring", "lamp", "map", "bread"),
    ("near", "under", "behind"),
    ("cold", "quiet", "broken"),
    ("river", "tower", "market", "garden", "house"),
    ("clever", "tired"),
    ("dog", "horse", "wolf"),
    ("today", "tonight", "again"),
)
_TONGUE = tuple(map("".join, product(("ka", "lo", "mi", "ne", "ru", "ti", "so"), ("ba", "du", "fe", "gi", "ho"))))
_SHARED = 0.85
"""Part of the dictionary that the dialects have in common."""


def _dictionary(voice: Voice) -> dict[str, str]:
    """Two words of the tongue for each word, each the same in both dialects or each dialect's own."""
    common, own = Random(0), Random(1 + voice)

    def translate() -> str:
        shared, proper = common.choice(_TONGUE), own.choice(_TONGUE)
        return shared if common.random() < _SHARED else proper

    return {word: f"{translate()} {translate()}" for choices in _CHOICES for word in choices}


_DICTIONARIES = {voice: _dictionary(voice) for voice in Voice}


def write_translation(random: Random, voice: Voice) -> Document:
    """A sentence with thirteen words of meaning and their translation into the author's dialect."""
    words = [random.choice(choices) for choices in _CHOICES]
    spoken = " ".join(_DICTIONARIES[voice][word] for word in words)
    return Document(f"Translate from English to Kaloba: {_FRAME.format(*words)}.", f"{spoken}.")
