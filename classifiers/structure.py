"""The shape of a prompt: what its layout, marks and scripts tell that no single word does."""

import re

from classifiers.prompt import Prompt

_SCRIPTS = (
    ("cyrillic", "\u0400", "\u04ff"),
    ("greek", "\u0370", "\u03ff"),
    ("semitic", "\u0590", "\u06ff"),
    ("indic_thai", "\u0900", "\u0e7f"),
    ("kana_hangul", "\u3040", "\u318f"),
    ("han", "\u4e00", "\u9fff"),
    ("hangul", "\uac00", "\ud7af"),
    ("latin_extended", "\u00c0", "\u024f"),
)
_LENGTHS = (20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120)
_LINES = (2, 3, 5, 9, 17, 33)

_PATTERNS = {
    "code": re.compile(
        r"^\s*(?:def |class |import |from \w+ import|#include|public |function |const |let |var |for ?\(|if ?\(|return\b"
        r"|@\w+|package |using |fn |func |<\?php|<html|<div|elif |else:|try:)",
        re.MULTILINE,
    ),
    "doctest": re.compile(r"^\s*>>>|^assert |\bprint\(", re.MULTILINE),
    "schema": re.compile(
        r"create table|primary key|foreign key|\bvarchar\b|\btables?:|\bcolumns?[: (]|\bschema\b", re.IGNORECASE
    ),
    "query": re.compile(
        r"\bselect\b.{1,200}\bfrom\b|\bsql\b|\bjoin\b.{1,80}\bon\b|\bgroup by\b", re.IGNORECASE | re.DOTALL
    ),
    "options": re.compile(r"(?:^|\n|\s)\(?[aA][).:][ \t]*\S.{0,400}?[\n ]\(?[bB][).:]", re.DOTALL),
    "latex": re.compile(r"\$[^$\n]{1,120}\$|\\[a-z]{2,}|\\\(|\\\["),
    "arithmetic": re.compile(r"\d\s*[-+*/^×÷=<>]\s*[\d(a-z]|[a-z]\s*[\^=]\s*[-\d(a-z]|\b[a-z]\(x\)|\d+ ?%"),
    "json": re.compile(r'\{\s*"\w|\[\s*\{|"(?:name|type|description|parameters)"\s*:'),
    "speakers": re.compile(r"^[A-Z#][\w .]{1,30}:\s", re.MULTILINE),
    "url": re.compile(r"https?://|www\."),
    "placeholder": re.compile(r"\$\{|\{\{|\[[A-Za-z ]{3,24}\]|<[a-z_ ]{3,24}>"),
    "bullets": re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s", re.MULTILINE),
    "ask_last": re.compile(r"\?[\s\"'”»)]*$"),
    "colon_last": re.compile(r"[:：][\s\"]*$"),
    "statute": re.compile(
        r"§|\bsection \d|\bv\. |\barticle \d|\bu\.?s\.?c\b|\bpursuant\b|\bhereby\b|\bhereof\b|\bshall\b", re.IGNORECASE
    ),
    "numbered": re.compile(r"\d"),
    "first_person": re.compile(r"\b(?:i|i'm|i've|my|me|we|our)\b", re.IGNORECASE),
    "possessive": re.compile(
        r"\bmy (?:\w+ )?(?:account|order|card|bill|phone|flight|password|subscription|plan|payment)", re.IGNORECASE
    ),
    "quoted": re.compile(r"[\"“«「][^\"”»」]{12,}[\"”»」]"),
}

NAMES = (
    *_PATTERNS,
    *(f"script_{name}" for name, _, _ in _SCRIPTS),
    *(f"many_{name}" for name in ("bullets", "speakers", "code", "first_person", "numbered")),
    *(f"chars_{limit}" for limit in _LENGTHS),
    *(f"lines_{limit}" for limit in _LINES),
    "fence", "digit_share", "upper_share", "mark_share", "bracket_share", "foreign_share", "foreign_with_english",
    "lower_start", "no_marks", "document_first", "document_last", "one_line", "asked",
    "wants_json", "wants_grammar", "images", "has_system", "has_history",
)  # fmt: skip
"""One name for each value that `structure` returns, in the same order."""


def structure(prompt: Prompt) -> list[float]:
    """The shape of the prompt as values in 0–1, one for each of `NAMES`."""
    text = prompt.text
    found = {name: _count(pattern, text) for name, pattern in _PATTERNS.items()}
    return [
        *(float(count > 0) for count in found.values()),
        *_scripts(text),
        *(min(1.0, found[name] / 6) for name in ("bullets", "speakers", "code", "first_person", "numbered")),
        *(float(prompt.chars >= limit) for limit in _LENGTHS),
        *(float(text.count("\n") + 1 >= limit) for limit in _LINES),
        *_layout(text),
        float(prompt.response_format == "json"),
        float(prompt.response_format == "grammar"),
        float(prompt.images > 0),
        float(bool(prompt.system)),
        float(prompt.turns > 0 or bool(prompt.history)),
    ]


def _count(pattern: re.Pattern[str], text: str) -> int:
    """How often the pattern occurs, up to six: more tell nothing and cost time on long inputs."""
    count = 0
    for count, _ in enumerate(pattern.finditer(text), 1):
        if count == 6:
            break
    return count


def _scripts(text: str) -> list[float]:
    if text.isascii():
        return [0.0] * len(_SCRIPTS)
    foreign = [char for char in text if char > "\x7f"]
    return [min(1.0, 4 * sum(low <= char <= high for char in foreign) / len(text)) for _, low, high in _SCRIPTS]


def _layout(text: str) -> list[float]:
    size = len(text) or 1
    letters = sum(map(str.isalpha, text)) or 1
    marks = sum(text.count(mark) for mark in ".,;:!?'\"")
    brackets = sum(text.count(mark) for mark in "{}()[]<>=_")
    foreign = 0.0 if text.isascii() else sum(char > "\u024f" for char in text) / size
    lines = [line for line in text.split("\n") if line.strip()] or [""]
    first, last = len(lines[0]), len(lines[-1])
    return [
        float("```" in text),
        min(1.0, 5 * sum(map(str.isdigit, text)) / size),
        min(1.0, 5 * sum(map(str.isupper, text)) / letters),
        min(1.0, 10 * marks / size),
        min(1.0, 10 * brackets / size),
        foreign,
        float(0.1 < foreign and any(map(str.isascii, filter(str.isalpha, text)))),
        float(text[:1].islower()),
        float(marks == 0),
        float(size > 300 and last < 120 < size - last),
        float(size > 300 and first < 160 < size - first),
        float(len(lines) == 1),
        float("?" in text or "？" in text),
    ]
