"""How often a router's process searches for garbage in cycles."""

import gc
from collections.abc import Iterator

import pytest

from router.collecting import search_seldom


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Other tests search as Python does."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def _searches() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def test_what_a_few_requests_hold_starts_no_search() -> None:
    """Four thousand objects at once; by Python's own rule that is five searches."""
    search_seldom()
    assert gc.get_freeze_count() > 0, "what was there before is searched again"
    before = _searches()
    held = [[number] for number in range(4_000)]
    assert _searches() == before
    assert len(held) == 4_000


def test_cycles_are_still_found() -> None:
    """A leak would be the price of never looking."""
    search_seldom()
    before = _searches()
    for _ in range(50_000):
        cycle: list[object] = []
        cycle.append(cycle)
    assert _searches() > before
    assert len(gc.get_objects()) < 20_000
