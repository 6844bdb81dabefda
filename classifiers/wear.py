"""What real senders do to a prompt: politeness, haste, typos, extra demands, a system prompt, turns before it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

_NEIGHBOURS = {"a": "s", "e": "r", "i": "o", "o": "p", "t": "y", "n": "m", "s": "d", "r": "t", "l": "k", "h": "j"}
_SHORT = 240


@dataclass(frozen=True, slots=True)
class Worn:
    """A prompt as it might arrive; `system` and `history` are empty for most."""

    text: str
    system: str = ""
    history: str = ""


def worn(text: str, rng: random.Random, phrase: Callable[[str], str]) -> Worn:
    """The text after random wear; `phrase` draws from the named common rule."""
    short = len(text) < _SHORT and "\n" not in text
    if short and rng.random() < 0.12:
        text = f"{phrase('greeting')} {_lower_first(text, rng)}"
    if short and rng.random() < 0.10:
        text = f"{text} {phrase('demand')}"
    if short and rng.random() < 0.06:
        text = f"{text} {phrase('thanks')}"
    if rng.random() < 0.12:
        text = _hasty(text) if short else text
    if rng.random() < 0.10:
        text = _mistyped(text, rng)
    return Worn(
        text,
        system=phrase("system") if rng.random() < 0.12 else "",
        history=phrase("history") if rng.random() < 0.08 else "",
    )


def _lower_first(text: str, rng: random.Random) -> str:
    return text[:1].lower() + text[1:] if rng.random() < 0.7 and text[1:2].islower() else text


def _hasty(text: str) -> str:
    """All in lower case and without the closing mark, as typed on a phone."""
    return text.lower().rstrip("?.! ").replace("'", "")


def _mistyped(text: str, rng: random.Random) -> str:
    """One to three slips of the finger: two letters swapped, one lost, or the neighbouring key."""
    letters = list(text)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(1, max(2, min(len(letters) - 1, 400)))
        if at + 1 >= len(letters) or not letters[at].isalpha():
            continue
        slip = rng.randrange(3)
        if slip == 0:
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
        elif slip == 1:
            del letters[at]
        else:
            letters[at] = _NEIGHBOURS.get(letters[at], letters[at])
    return "".join(letters)
