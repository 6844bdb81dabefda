"""What changed between two policy documents, field by field."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Json = Mapping[str, object] | Sequence[object] | str | float | int | bool | None
"""A decoded JSON value."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs; None where a side does not have it."""

    path: str
    before: object
    after: object


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Difference, ...]:
    """The differing fields of two documents as JSON, in the order of the document; lists are aligned first."""
    return tuple(_mapping("", before, after))


def _values(path: str, before: object, after: object) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _mapping(path, before, after)
    elif isinstance(before, list) and isinstance(after, list) and (_nested(before) or _nested(after)):
        yield from _lists(path, before, after)
    elif before != after:
        yield Difference(path, before, after)


def _mapping(path: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[Difference]:
    for name in [*before, *(name for name in after if name not in before)]:
        yield from _values(f"{path}.{name}" if path else name, before.get(name), after.get(name))


def _lists(path: str, before: list[object], after: list[object]) -> Iterator[Difference]:
    """Items that moved because another was put before them are not differences."""
    old, new = [json.dumps(item) for item in before], [json.dumps(item) for item in after]
    for kind, start, end, begin, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        paired = min(end - start, stop - begin)
        for at in range(paired):
            yield from _values(f"{path}.{begin + at}", before[start + at], after[begin + at])
        for at in range(start + paired, end):
            yield Difference(f"{path}.{at}", before[at], None)
        for at in range(begin + paired, stop):
            yield Difference(f"{path}.{at}", None, after[at])


def _nested(items: list[object]) -> bool:
    return any(isinstance(item, Mapping) for item in items)
