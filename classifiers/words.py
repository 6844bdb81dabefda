"""The words of a prompt: which words, pairs, line starts and character runs stand where.

Each block is a set of strings with its own vocabulary. Blocks of position (`head`, `tail`, `line`) let an instruction
count although it is twelve words beside a document of thousands.
"""

import re
from itertools import pairwise

from classifiers.lexicon import listed
from classifiers.prompt import Prompt

BLOCKS = ("lexicon", "word", "head", "tail", "line", "char", "system", "history", "followed")

HEAD_WORDS = 14
TAIL_WORDS = 12
LINES = 48
CHAR_HEAD = 140
CHAR_TAIL = 70
CHAR_LENGTHS = (4,)
CONTEXT_WORDS = 160
SHORT_CHARS = 80

_SPACELESS = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_MARKED = r"\u0900-\u0dff\u0e00-\u0eff"
_TOKEN = re.compile(
    rf"[^\W\d_{_SPACELESS}{_MARKED}]+(?:'[a-z]+)?"  # words of scripts that put spaces between them
    rf"|\d+|[{_SPACELESS}]|[{_MARKED}]+|[^\w\s]"  # numbers, one CJK character, Indic words with their marks, one mark
)
_LINE_START = re.compile(r"^[ \t]*(\S{1,24})", re.MULTILINE)
_DIGITS = re.compile(r"\d+")
_APOSTROPHES = str.maketrans("’‘`", "'''")


def blocks(prompt: Prompt) -> dict[str, set[str]]:
    """The features present in each block, by the names in `BLOCKS`."""
    text = _DIGITS.sub("0", prompt.text.lower().translate(_APOSTROPHES))
    words = _TOKEN.findall(text)
    head, tail = words[:HEAD_WORDS], words[-TAIL_WORDS:]
    return {
        "lexicon": listed(words, HEAD_WORDS, TAIL_WORDS),
        "word": _grams(words),
        "head": {*_grams(head), *(f"^{i}{word}" for i, word in enumerate(head[:3])), "^" + " ".join(head[:3])},
        "tail": {*_grams(tail), "$" + " ".join(tail[-2:])},
        "line": set(_LINE_START.findall(text)[:LINES]),
        "char": _char_grams(text),
        "system": set(_TOKEN.findall(prompt.system.lower())[:CONTEXT_WORDS]),
        **_context(prompt),
    }


def _context(prompt: Prompt) -> dict[str, set[str]]:
    """What the turns before say: a block of its own where the last turn is too short to say it again."""
    words = _TOKEN.findall(prompt.history.lower())[-CONTEXT_WORDS:]
    found = {*words, *listed(words, HEAD_WORDS, TAIL_WORDS)}
    short = len(prompt.text) <= SHORT_CHARS
    return {"history": set() if short else found, "followed": found if short else set()}


def _grams(words: list[str]) -> set[str]:
    return {*words, *map(" ".join, pairwise(words))}


def _char_grams(text: str) -> set[str]:
    """Character runs of 3 to 5 near both ends: they see through typos, endings and unspaced scripts."""
    ends = [" " + text[:CHAR_HEAD]]
    if len(text) > CHAR_HEAD:
        ends.append(text[-min(CHAR_TAIL, len(text) - CHAR_HEAD) :] + " ")
    return {end[i : i + n] for end in ends for n in CHAR_LENGTHS for i in range(len(end) - n + 1)}
