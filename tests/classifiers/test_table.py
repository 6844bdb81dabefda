"""The table of features finds what dictionaries find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.artefact import load
from classifiers.model import rows_of
from classifiers.prompt import prompt_of
from classifiers.table import Table
from classifiers.words import BLOCKS, blocks

WORDS = st.text(max_size=3) | st.sampled_from(["my", "祭", "the", "法"])
VOCABULARIES = st.lists(st.tuples(st.sampled_from(BLOCKS), WORDS), unique=True, max_size=200)


def _vocabulary(features: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {block: {} for block in BLOCKS}
    for row, (block, feature) in enumerate(features):
        found[block][feature] = row
    return found


def _expected(vocabulary: dict[str, dict[str, int]], present: dict[str, set[str]]) -> dict[int, float]:
    known = {block: rows_of(vocabulary[block], present[block]) for block in BLOCKS}
    return {row: len(rows) ** -0.5 for rows in known.values() for row in rows}


@settings(deadline=None)
@given(VOCABULARIES, st.dictionaries(st.sampled_from(BLOCKS), st.sets(WORDS, max_size=9)))
def test_rows_and_weights_are_those_of_dictionaries(features: list[tuple[str, str]], some: dict[str, set[str]]) -> None:
    """Any vocabulary, any features present; ASCII and other words of the same bytes are told apart."""
    vocabulary = _vocabulary(features)
    present = {block: some.get(block, set()) for block in BLOCKS}
    rows, weights = Table(vocabulary).find(present, ascii_only=False)
    assert dict(zip(rows.tolist(), weights.tolist(), strict=True)) == pytest.approx(_expected(vocabulary, present))


def test_the_shipped_vocabulary_finds_every_feature() -> None:
    """Forty thousand features have a place each, and prompts of ASCII need no closer look."""
    vocabulary = load().weights.vocabulary
    table = Table(vocabulary)
    rows, _ = table.find({block: set(vocabulary[block]) for block in BLOCKS}, ascii_only=False)
    assert np.array_equal(np.sort(rows), np.arange(len(rows)))
    assert len(rows) == sum(map(len, vocabulary.values()))
    present = blocks(prompt_of("Why do whales sing, and who wrote `listen()` in C?", system="Be brief."))
    rows, weights = table.find(present, ascii_only=True)
    assert dict(zip(rows.tolist(), weights.tolist(), strict=True)) == pytest.approx(_expected(vocabulary, present))
