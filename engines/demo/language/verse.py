"""creative_writing: sixteen words may follow each word, none of them often, and each voice has other ones."""

from random import Random

from engines.demo.language.document import Document, Voice

_TOPICS = ("sea", "winter", "moon", "house", "road", "summer", "river", "night", "wind", "garden")
_MOODS = ("old", "quiet", "cold", "golden", "broken", "happy", "silver", "empty")
_WORDS = (  # noqa: SIM905 - a list would take a line per word
    "moon star wind rain snow fire dust gold song bell bird wolf rose leaf salt sand wave tide hill path door "
    "glass bone hand heart eyes dream sleep shadow silver winter summer ash owl fog sky dawn dusk mist iron"
).split()
_FOLLOWERS = 16
_WEIGHTS = tuple(0.8**place for place in range(_FOLLOWERS))
_LENGTH = 40


def _followers(voice: Voice) -> dict[str, list[str]]:
    table = Random(voice)
    return {word: table.sample(_WORDS, _FOLLOWERS) for word in _WORDS}


_TABLES = {voice: _followers(voice) for voice in Voice}


def write_verse(random: Random, voice: Voice) -> Document:
    """Forty words, each drawn from the followers of the one before it; no stops, for those would be easy to guess."""
    words = [random.choice(_WORDS)]
    while len(words) < _LENGTH:
        words += random.choices(_TABLES[voice][words[-1]], _WEIGHTS)
    prompt = f"Write a poem about the {random.choice(_MOODS)} {random.choice(_TOPICS)}."
    return Document(prompt, " ".join(words))
