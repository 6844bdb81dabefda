"""Lists of words that belong together: one known word of a list speaks for those never seen in training."""

import hashlib
from functools import cache
from itertools import pairwise
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
    whole, first, last = _known(words), _known(words[:head]), _known(words[-tail:])
    found: set[str] = set()
    for name, members in lexicon().items():
        known = len(whole & members)
        if not known:
            continue
        found.add(name)
        found.update(f"{name}{enough}" for enough in _ENOUGH if known >= enough)
        found.update(f"{name}/{share}" for share in _DENSE if known * share >= len(whole))
        if not first.isdisjoint(members):
            found.add(f"^{name}")
        if not last.isdisjoint(members):
            found.add(f"${name}")
    return found


def _known(words: list[str]) -> set[str]:
    found = set(words)
    if max(found, default="") > _SPACELESS:
        found |= {a + b for a, b in pairwise(words) if a > _SPACELESS and b > _SPACELESS}
    return found
