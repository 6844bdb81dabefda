"""Which rules apply wherever another does, by what they ask alone."""

from collections.abc import Callable, Mapping
from operator import ge, le

from policies.rules import When

LISTS = ("model", "task", "segment")
SAME = ("tools", "grammar", "hours")
ABOVE = tuple(name for name in When.model_fields if name.endswith("_above"))
BELOW = tuple(name for name in When.model_fields if name.endswith(("_at_most", "_below")))

ALWAYS = When()
"""What every request meets."""


def covers(wide: When, narrow: When) -> bool:
    """Whether every request that meets `narrow` meets `wide`; False also where that cannot be told."""
    return (
        all(_lists_as_many(getattr(wide, name), getattr(narrow, name)) for name in LISTS)
        and all(getattr(wide, name) in (None, getattr(narrow, name)) for name in SAME)
        and all(_holds(getattr(narrow, name), ge, getattr(wide, name)) for name in ABOVE)
        and all(_holds(getattr(narrow, name), le, getattr(wide, name)) for name in BELOW)
        and _headers_cover(wide.headers or {}, narrow.headers or {})
    )


def _lists_as_many(wide: tuple[str, ...] | None, narrow: tuple[str, ...] | None) -> bool:
    return wide is None or (narrow is not None and set(narrow) <= set(wide))


def _holds(narrow: float | None, bound: Callable[[float, float], bool], wide: float | None) -> bool:
    return wide is None or (narrow is not None and bound(narrow, wide))


def _headers_cover(wide: Mapping[str, tuple[str, ...]], narrow: Mapping[str, tuple[str, ...]]) -> bool:
    asked = {name.lower(): values for name, values in narrow.items()}
    return all(_values_cover(values, asked.get(name.lower())) for name, values in wide.items())


def _values_cover(wide: tuple[str, ...], narrow: tuple[str, ...] | None) -> bool:
    """An empty list is any value."""
    return narrow is not None and (not wide or (bool(narrow) and set(narrow) <= set(wide)))
