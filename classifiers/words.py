"""The words of a prompt: which words, pairs, line starts and character runs stand where.

Each block is a set of strings with its own vocabulary. Blocks of position (`head`, `tail`, `line`) let an instruction
count although it is twelve words beside a document of thousands.
"""

import re
from functools import lru_cache
from itertools import pairwise

from classifiers.lexicon import listed
from classifiers.prompt import Prompt

BLOCKS = ("lexicon", "word", "head", "tail", "line", "char", "system", "history", "followed")

HEAD_WORDS = 14
TAIL_WORDS = 12
LINES = 48
CHAR_HEAD = 140
CHAR_TAIL = 70
CHAR_LENGTH = 4
CONTEXT_WORDS = 160
SHORT_CHARS = 80

_SPACELESS = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_MARKED = r"\u0900-\u0dff\u0e00-\u0eff"
_TOKEN = re.compile(
    rf"[^\W\d_{_SPACELESS}{_MARKED}]+(?:'[a-z]+)?"  # words of scripts that put spaces between them
    rf"|\d+|[{_SPACELESS}]|[{_MARKED}]+|[^\w\s]"  # numbers, one CJK character, Indic words with their marks, one mark
)
_ASCII_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|[^\w\s]|[0-9]+")  # finds the same in ASCII, in two thirds of the time
_LINE_START = re.compile(r"\n[ \t]*(\S{1,24})")
_DIGITS = re.compile(r"\d+")
_ASCII_DIGITS = re.compile(r"[0-9]+")
_SYSTEMS = 256


def blocks(prompt: Prompt) -> dict[str, set[str]]:
    """The features present in each block, by the names in `BLOCKS`."""
    text = _normal(prompt.text.lower())
    words = _tokens(text)
    head, tail = words[:HEAD_WORDS], words[-TAIL_WORDS:]
    return {
        "lexicon": listed(words, HEAD_WORDS, TAIL_WORDS),
        "word": _grams(words),
        "head": {*_grams(head), *(f"^{i}{word}" for i, word in enumerate(head[:3])), "^" + " ".join(head[:3])},
        "tail": {*_grams(tail), "$" + " ".join(tail[-2:])},
        "line": set(_LINE_START.findall("\n" + text)[:LINES]),
        "char": _char_grams(text),
        "system": _of_system(prompt.system),
        **_context(prompt),
    }


def _normal(text: str) -> str:
    text = (_ASCII_DIGITS if text.isascii() else _DIGITS).sub("0", text)
    return text.replace("’", "'").replace("‘", "'").replace("`", "'")  # str.translate takes a hundred times as long


@lru_cache(_SYSTEMS)  # an application sends the same instructions with every request
def _of_system(system: str) -> set[str]:
    return set(_tokens(system.lower())[:CONTEXT_WORDS])


def _context(prompt: Prompt) -> dict[str, set[str]]:
    """What the turns before say: a block of its own where the last turn is too short to say it again."""
    if not prompt.history:
        return {"history": set(), "followed": set()}
    words = _tokens(prompt.history.lower())[-CONTEXT_WORDS:]
    found = {*words, *listed(words, HEAD_WORDS, TAIL_WORDS)}
    short = len(prompt.text) <= SHORT_CHARS
    return {"history": set() if short else found, "followed": found if short else set()}


def _tokens(text: str) -> list[str]:
    return (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)


def _grams(words: list[str]) -> set[str]:
    return {*words, *map(" ".join, pairwise(words))}


def _char_grams(text: str) -> set[str]:
    """Character runs near both ends: they see through typos, endings and unspaced scripts."""
    head = " " + text[:CHAR_HEAD]
    found = {head[i : i + CHAR_LENGTH] for i in range(len(head) - CHAR_LENGTH + 1)}
    if len(text) > CHAR_HEAD:
        tail = text[-min(CHAR_TAIL, len(text) - CHAR_HEAD) :] + " "
        found.update(tail[i : i + CHAR_LENGTH] for i in range(len(tail) - CHAR_LENGTH + 1))
    return found
