"""One body, one meaning: what an engine reads must be what was checked here.

Two readers of the same JSON agree unless an object has a key twice: this router and vLLM take the last of them, others
the first, and a third kind both. Where an unchecked value could hide in that gap, the request is refused.
"""

import json
from collections import Counter

import orjson

from router.errors import BadRequest

DEEPEST = 254
"""Levels of nesting that orjson writes; it reads four times as many, and grammar compilers recurse on what they get."""


def check_strict(raw: bytes, body: dict[str, object]) -> None:
    """Raise BadRequest where the JSON that was decoded to `body` is nested too deeply or has a key twice.

    Compact JSON, as OpenAI's and Anthropic's clients send it, written anew is the same again: then no key was dropped
    (2 µs for 4 KB, 10 µs for 20 KB of messages and tools). Other JSON is read once more (10 and 150 µs).
    """
    try:
        same = orjson.dumps(body) == raw
    except TypeError:
        raise BadRequest(f"The body is nested deeper than {DEEPEST} levels.", code="invalid_json") from None
    if not same:
        json.loads(raw.decode(), object_pairs_hook=_without_doubles, parse_int=float)


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0][:128]
        raise BadRequest(f"The field {twice!r} is given twice.", param=twice, code="duplicate_field")
    return found
