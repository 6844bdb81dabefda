"""The short cuts of the features find what the long ways find."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers import structure, words
from classifiers.lexicon import lexicon, listed

PIECES = st.sampled_from(
    ["a) x ", "B. ", "\nA. ", "$x$", "\\frac", "[ {", '{"a', "{{", "[your name]", "____", "Agent: ", ">>> ", "assert x"]
)
TEXTS = st.lists(PIECES | st.text(max_size=6) | st.sampled_from(["\n", " ", "don't ", "x^2 ", "3 + 4 "])).map("".join)
ASCII = st.text(st.characters(max_codepoint=127), max_size=80)


@settings(deadline=None)
@given(ASCII)
def test_ascii_has_the_same_words_either_way(text: str) -> None:
    """The faster pattern for ASCII splits as the one for every script does."""
    assert words._ASCII_TOKEN.findall(text.lower()) == words._TOKEN.findall(text.lower())


@settings(deadline=None)
@given(ASCII | st.text(max_size=60))
def test_shares_are_those_counted_one_by_one(text: str) -> None:
    """Bytes and tables of UTF-16 units count what a look at each character counts."""
    shares = structure._shares(text)
    marks = [mark for mark in text if not 0xDC00 <= ord(mark) <= 0xDFFF]
    counted = [sum(low <= ord(mark) <= high for mark in marks) for low, high in structure._BOUNDS]
    assert shares[:-1] == pytest.approx([min(1.0, 4 * count / max(1, len(text))) for count in counted])


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_a_pattern_that_is_not_searched_for_would_not_be_found(text: str) -> None:
    """Where none of the marks that a pattern needs occurs, the pattern has no match."""
    for name, needed in structure._NEEDED.items():
        if not any(mark in text for mark in needed):
            assert structure._PATTERNS[name].search("\n" + text) is None, name


def test_operators_count_with_what_stands_on_both_sides() -> None:
    """The operator is found first; what stands before it is looked up backwards."""
    found = structure._PATTERNS["arithmetic"].findall(
        "3+4, 3 * 4, 12/x, x = 5, x^2, y =-1; state-of-the-art, a - b, 3 -"
    )
    assert found == ["+4", "* 4", "/x", "= 5", "^2", "=-"]


def _one_by_one(some: list[str], head: int, tail: int) -> set[str]:
    """What `listed` finds, a list at a time."""

    def known(part: list[str]) -> set[str]:
        return {*part, *(a + b for a, b in pairwise(part) if min(a, b) > "\u3040")}

    found: set[str] = set()
    whole = known(some)
    for name, members in lexicon().items():
        count = len(whole & members)
        found |= {name} if count else set()
        found |= {f"{name}{enough}" for enough in (2, 3, 5, 8) if count >= enough}
        found |= {f"{name}/{share}" for share in (4, 8, 16) if count and count * share >= len(whole)}
        found |= {f"^{name}"} if known(some[:head]) & members else set()
        found |= {f"${name}"} if known(some[-tail:]) & members else set()
    return found


@given(
    st.lists(st.sampled_from(["court", "sql", "poem", "the", "法", "律", "zzz", "contract", "function"]), max_size=40)
)
def test_lists_are_touched_as_counted_one_by_one(some: list[str]) -> None:
    """One look-up per word finds the numbers, shares and places that a count per list finds."""
    assert listed(some, 14, 12) == _one_by_one(some, 14, 12)
