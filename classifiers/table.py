"""The rows of a prompt's features, all looked up at once.

Dictionaries of forty thousand strings lie scattered over megabytes: each look-up waits for memory four times, one
after another, and a prompt has hundreds. Here each feature has one of two places, told by the hash of its text, and
NumPy looks at both places of all of them in one pass.
"""

from collections.abc import Iterable, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from classifiers.words import BLOCKS

_BLOCKS = np.arange(2 * len(BLOCKS)) % len(BLOCKS)
_SALTS = np.arange(1, len(BLOCKS) + 1, dtype=np.int64) * 0x1E3779B97F4A7C15
"""What sets the features of one block apart from those of another; the product may overflow."""

_SHIFTS = np.array([[0], [16]])
_HALVES = np.array([[0], [1]])
_ROUNDS = 200

Ints = NDArray[np.int64]


class Table:
    """Finds rows by (block, feature); of features it does not know, one in four billion is taken for one it does."""

    def __init__(self, vocabulary: Mapping[str, Mapping[str, int]]) -> None:
        """Lay out the features of every block, in two halves with more than one place for each."""
        features = [vocabulary[block] for block in BLOCKS]
        hashes = _salted(map(_hash, chain.from_iterable(features)), [len(rows) for rows in features])
        rows = np.fromiter(chain.from_iterable(rows.values() for rows in features), dtype=np.int32)
        self._size = 1 << len(hashes).bit_length()
        while (place := _settled(self._places(hashes))) is None:
            self._size *= 2
        self._prints = np.zeros(2 * self._size, dtype=np.int32)
        self._rows = np.full(2 * self._size, -1, dtype=np.int32)
        self._roots = (np.maximum(np.arange(len(hashes) + 1), 1) ** -0.5).astype(np.float32)
        """One over the root of each number of features that a block can have."""
        self._prints[place] = _print(hashes)
        self._rows[place] = rows

    def find(self, present: Mapping[str, set[str]], *, ascii_only: bool) -> tuple[Ints, NDArray[np.float32]]:
        """The known rows and the weight of each: one over the root of how many its block has."""
        sizes = [len(found) for found in present.values()]
        hashes = _salted(map(hash if ascii_only else _hash, chain.from_iterable(present.values())), sizes)
        places = self._places(hashes)
        found = (self._prints.take(places) == _print(hashes)).ravel().nonzero()[0]
        block = _BLOCKS.repeat(sizes + sizes).take(found)
        return self._rows.take(places.ravel().take(found)), self._roots.take(np.bincount(block)).take(block)

    def _places(self, hashes: Ints) -> Ints:
        """The first places of all in a row, and in another their second places, which are in the other half."""
        places: Ints = (hashes >> _SHIFTS & self._size - 1) + _HALVES * self._size
        return places


def _settled(places: Ints) -> Ints | None:
    """One of the two places of each feature, none taken twice: who is driven out of one tries its other one.

    With two places for each feature this ends soon (cuckoo hashing), but for rare knots: then there is no answer.
    """
    count = places.shape[1]
    owner = np.full(places.max(initial=0) + 1, -1)
    second = np.zeros(count, dtype=np.int64)
    moving = np.arange(count)
    for _ in range(_ROUNDS):
        if not moving.size:
            settled: Ints = places[second, np.arange(count)]
            return settled
        wanted = places[second[moving], moving]
        driven_out = np.unique(owner[wanted])
        owner[wanted] = moving
        moving = np.concatenate((moving[owner[wanted] != moving], driven_out[driven_out >= 0]))
        second[moving] ^= 1
    return None


def _salted(hashes: Iterable[int], sizes: list[int]) -> Ints:
    salted: Ints = np.fromiter(hashes, np.int64, sum(sizes)) ^ _SALTS.repeat(sizes)
    return salted


def _print(hashes: Ints) -> NDArray[np.int32]:
    """The upper half of each hash; the places are told by the lower half."""
    return hashes.view(np.int32)[1::2]


def _hash(feature: str) -> int:
    """Python's own, which differs from process to process; it takes 祭 for "my", whose bytes are the same."""
    return hash(feature) if feature.isascii() else ~hash(feature)
