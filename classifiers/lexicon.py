"""Lists of words that belong together: one known word of a list speaks for those never seen in training."""

import hashlib
from bisect import bisect_left
from collections import Counter
from functools import cache
from itertools import chain, pairwise
from pathlib import Path

_FILE = Path(__file__).parent / "lexicon.txt"
_ENOUGH = (2, 3, 5, 8)
_DENSE = (4, 8, 16)
_SPACELESS = "\u3040"


@cache
def lexicon() -> dict[str, frozenset[str]]:
    """The lists by name, read once from the file beside this one."""
    lists: dict[str, set[str]] = {}
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            lists[line[2:].strip()] = set()
        elif lists and not line.startswith("##"):
            lists[next(reversed(lists))].update(line.split())
    return {name: frozenset(words) for name, words in lists.items()}


def lexicon_sha256() -> str:
    """Names the version of the lists: weights trained with other lists would misread the features."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()


def listed(words: list[str], head: int, tail: int) -> set[str]:
    """Which lists the words touch: `law`, `law3` by number, `law/8` by share, `^law` and `$law` by place.

    Numbers count distinct words; `head` and `tail` are how many words make the beginning and the end. In scripts
    without spaces a word is a character, and the lists hold pairs of them.
    """
    whole, lists = _known(words), _lists()
    touched = lists.keys() & whole
    if not touched:
        return set()
    found: set[str] = set()
    for name, known in Counter(chain.from_iterable(map(lists.__getitem__, touched))).items():
        found |= _marks(name, min(known, _ENOUGH[-1]), len(_DENSE) - bisect_left(_DENSE, len(whole) / known))
    for mark, end in (("^", words[:head]), ("$", words[-tail:])):
        found.update(mark + name for word in touched & _known(end) for name in lists[word])
    return found


@cache
def _marks(name: str, known: int, dense: int) -> frozenset[str]:
    """What is said of a list that so many words touch, who reach so many of the shares in `_DENSE`."""
    numbers = (f"{name}{enough}" for enough in _ENOUGH if known >= enough)
    return frozenset({name, *numbers, *(f"{name}/{share}" for share in _DENSE[len(_DENSE) - dense :])})


@cache
def _lists() -> dict[str, tuple[str, ...]]:
    """The names of the lists that hold a word, by word: one look-up for each word, not one for each list."""
    names: dict[str, tuple[str, ...]] = {}
    for name, members in lexicon().items():
        for word in members:
            names[word] = (*names.get(word, ()), name)
    return names


def _known(words: list[str]) -> set[str]:
    found = set(words)
    if max(found, default="") > _SPACELESS:
        found |= {a + b for a, b in pairwise(words) if a > _SPACELESS and b > _SPACELESS}
    return found
