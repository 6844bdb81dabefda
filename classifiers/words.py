"""The words of a prompt: which words, pairs, line starts and character runs stand where.

Each block is a set of strings with its own vocabulary. Blocks of position (`head`, `tail`, `line`) let an instruction
count although it is twelve words beside a document of thousands.
"""

import re
from itertools import pairwise

from classifiers.lexicon import listed
from classifiers.prompt import Prompt

BLOCKS = ("lexicon", "word", "head", "tail", "line", "char", "system", "history")

HEAD_WORDS = 14
TAIL_WORDS = 12
LINES = 48
CHAR_HEAD = 140
CHAR_TAIL = 70
CHAR_LENGTHS = (4,)
CONTEXT_WORDS = 80

_TOKEN = re.compile(
    r"[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+(?:'[a-z]+)?"  # words of scripts that put spaces between them
    r"|\d+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\w\s]"  # numbers, one CJK character, one mark
)
_LINE_START = re.compile(r"^[ \t]*(\S{1,24})", re.MULTILINE)
_DIGITS = re.compile(r"\d+")
_APOSTROPHES = str.maketrans("’‘`", "'''")


def lists_of(prompt: Prompt) -> set[str]:
    """The word lists that the prompt touches, as the `lexicon` block names them."""
    return listed(_TOKEN.findall(prompt.text.lower()), HEAD_WORDS, TAIL_WORDS)


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
        "history": set(_TOKEN.findall(prompt.history.lower())[-CONTEXT_WORDS:]),
    }


def _grams(words: list[str]) -> set[str]:
    return {*words, *map(" ".join, pairwise(words))}


def _char_grams(text: str) -> set[str]:
    """Character runs of 3 to 5 near both ends: they see through typos, endings and unspaced scripts."""
    ends = [" " + text[:CHAR_HEAD]]
    if len(text) > CHAR_HEAD:
        ends.append(text[-min(CHAR_TAIL, len(text) - CHAR_HEAD) :] + " ")
    return {end[i : i + n] for end in ends for n in CHAR_LENGTHS for i in range(len(end) - n + 1)}
