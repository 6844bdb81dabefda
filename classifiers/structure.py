"""The shape of a prompt: what its layout, marks and scripts tell that no single word does."""

import re
from bisect import bisect_right
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from classifiers.prompt import Prompt

_SCRIPTS = {
    "latin_extended": (0xC0, 0x24F),
    "greek": (0x370, 0x3FF),
    "cyrillic": (0x400, 0x52F),
    "semitic": (0x590, 0x77F),
    "indic_thai": (0x900, 0xE7F),
    "kana": (0x3040, 0x30FF),
    "han": (0x3400, 0x9FFF),
    "hangul": (0xAC00, 0xD7AF),
}
_CLASSES = {
    "digits": (48, 57),
    "capitals": (65, 90),
    "letters": (97, 122),
    "marks": (33, 47),
    "foreign": (0x250, 0x10FFFF),
}
_BOUNDS = (*_SCRIPTS.values(), *_CLASSES.values())


def _kinds() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """For each UTF-16 unit its kind, and for each kind whether it counts in each of the scripts and classes.

    A pair of surrogates is one foreign character: its second half is of a kind that counts nowhere.
    """
    unit = np.arange(0x10000)[:, None]
    low, high = np.array(_BOUNDS).T
    inside = (unit >= low) & (unit <= high) & ((unit < 0xDC00) | (unit > 0xDFFF))
    members, kind = np.unique(inside, axis=0, return_inverse=True)
    return kind.astype(np.uint8).reshape(-1), members.astype(np.float32)


_KIND, _MEMBERS = _kinds()
_ASCII_CLASSES = tuple(bytes(range(low, min(high, 127) + 1)) for low, high in _CLASSES.values())
_NO_SCRIPT = (0.0,) * len(_SCRIPTS)

_CHARS = (20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120)
_LINES = (2, 3, 5, 9, 17, 33)
_SCANNED_HEAD = 900
_SCANNED_TAIL = 300
_ENOUGH = 6
_BRIEF = 80

_PATTERNS = {
    "code": re.compile(
        r"\n[ \t]*(?:def |class |import |from \w+ import|#include|public |function |const |let |var |for ?\(|if ?\("
        r"|return\b|@\w+|package |using |fn |func |<\?php|<html|<div|elif |else:|try:)"
    ),
    "doctest": re.compile(r"\n[ \t]*(?:>>>|assert )"),
    "options": re.compile(r"(?:^|[\s(])[aA][).:] ?\S[^\n]{0,200}?[\n ]\(?[bB][).:]|\nA[).:]"),
    "latex": re.compile(r"\$[^$\n]{1,120}\$|\\[a-z]{2,}|\\[(\[]"),
    "arithmetic": re.compile(  # the operator first, and then what stands before it: few places to look at
        r"[-+*/^×÷=<>](?:(?:(?<=\d.)|(?<=\d .)) ?[\d(a-z]|(?:(?<=\b[a-z][\^=])|(?<=\b[a-z] [\^=])) ?[-\d(a-z])"
    ),
    "json": re.compile(r'\{\s*"\w|\[\s*\{'),
    "speakers": re.compile(r"\n[A-Z#][\w .]{1,30}:(?=\s)"),
    "placeholder": re.compile(r"\$\{|\{\{|\[[A-Za-z ]{3,24}\]"),
    "bullets": re.compile(r"\n[ \t]*(?:[-*•]|\d{1,2}[.)]) "),
    "numbers": re.compile(r"\d+"),
    "quoted": re.compile(r"[\"“«「][^\"”»」]{12,}[\"”»」]"),
    "blanks": re.compile(r"_{3,}"),
}
"""What to look for; the text is searched with a line break before it, so that every line begins with one."""

_NEEDED = {
    "doctest": (">>>", "assert "),
    "options": ("B)", "B.", "B:", "b)", "b.", "b:", "\nA"),
    "latex": ("$", "\\"),
    "json": ("{",),
    "speakers": (":",),
    "placeholder": ("{", "["),
    "blanks": ("___",),
}
"""A text without any of these holds no match of the pattern: finding that out costs a tenth of the search."""

_MARK = re.compile(r"[.?!,:]")
_COUNTED = ("bullets", "speakers", "code", "numbers", "arithmetic")

NAMES = (
    *_PATTERNS,
    *(f"many_{name}" for name in _COUNTED),
    *(f"script_{name}" for name in _SCRIPTS),
    *(f"share_{name}" for name in _CLASSES), "foreign_with_english",
    *(f"chars_{limit}" for limit in _CHARS),
    *(f"lines_{limit}" for limit in _LINES),
    "fence", "url", "asks", "asks_last", "colon_last", "lower_start",
    "unmarked", "one_line", "document_first", "document_last",
    "wants_json", "wants_grammar", "has_images", "has_system", "has_history", "follows_briefly",
)  # fmt: skip
"""One name for each value that `structure` returns, in the same order."""


def structure(prompt: Prompt) -> list[float]:
    """The shape of the prompt as values in 0–1, one for each of `NAMES`."""
    text = prompt.text
    follows = prompt.turns > 0 or bool(prompt.history)
    return [
        *_patterns(text),
        *_shares(text),
        *_steps(prompt.chars, _CHARS),
        *_steps(text.count("\n") + 1, _LINES),
        *_layout(text),
        float(prompt.response_format == "json"),
        float(prompt.response_format == "grammar"),
        float(prompt.images > 0),
        float(bool(prompt.system)),
        float(follows),
        float(follows and len(text) <= _BRIEF),
    ]


def _patterns(text: str) -> list[float]:
    """Whether each pattern occurs near the ends of the text, then how often some do; six are as many as any."""
    if len(text) > _SCANNED_HEAD + _SCANNED_TAIL:
        text = f"{text[:_SCANNED_HEAD]}\n{text[-_SCANNED_TAIL:]}"
    text = "\n" + text
    found = {name: _count(name, pattern, text) for name, pattern in _PATTERNS.items()}
    return [*map(bool, found.values()), *(found[name] / _ENOUGH for name in _COUNTED)]


def _count(name: str, pattern: re.Pattern[str], text: str) -> int:
    if name in _NEEDED and not any(map(text.__contains__, _NEEDED[name])):
        return 0
    if name not in _COUNTED:
        return pattern.search(text) is not None
    return sum(1 for _ in islice(pattern.finditer(text), _ENOUGH))


def _steps(size: int, limits: tuple[int, ...]) -> list[float]:
    reached = bisect_right(limits, size)
    return [1.0] * reached + [0.0] * (len(limits) - reached)


def _shares(text: str) -> list[float]:
    """The shares of the scripts and classes of characters, stretched so that a quarter of the text counts in full."""
    if text.isascii():
        return _ascii_shares(text.encode())
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), dtype=np.uint16)
    counts = np.bincount(_KIND[units], minlength=len(_MEMBERS)) @ _MEMBERS
    shares = np.minimum(1.0, 4 * counts / len(text)).tolist()
    foreign, english = shares[-1], shares[-3]
    return [*shares, float(foreign > 0.2 and english > 0.2)]


def _ascii_shares(text: bytes) -> list[float]:
    size = len(text)
    counts = (size - len(text.translate(None, of_class)) for of_class in _ASCII_CLASSES)
    return [*_NO_SCRIPT, *(min(1.0, 4 * count / max(1, size)) for count in counts), 0.0]


def _layout(text: str) -> list[float]:
    size = len(text)
    stripped = text.rstrip(" \t\n\"'”»)*")
    first = text.find("\n") if "\n" in text else size
    last = size - text.rfind("\n") - 1
    return [
        float("```" in text),
        float("http" in text or "www." in text),
        float("?" in text or "？" in text),
        float(stripped.endswith(("?", "？", "؟"))),
        float(stripped.endswith((":", "："))),
        float(text[:1].islower()),
        float(_MARK.search(text) is None),
        float("\n" not in text),
        float(size > 300 and last < 120),
        float(size > 300 and first < 160),
    ]
