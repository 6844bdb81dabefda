"""Quick values: made without the price of freezing, and otherwise as frozen ones are."""

import copy
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from policies.quick import quick


@quick
@dataclass(frozen=True, slots=True)
class Parcel:
    """A value with a default of each kind."""

    name: str
    weight: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)


def test_a_quick_value_is_made_as_any_dataclass_is() -> None:
    """By position, by name and by default; a default that is made is made anew each time."""
    assert Parcel("a", 2.0) == Parcel(name="a", weight=2.0, labels={})
    assert (Parcel("a").weight, Parcel("a").labels) == (1.0, {})
    assert Parcel("a").labels is not Parcel("a").labels
    assert repr(Parcel("a")) == "Parcel(name='a', weight=1.0, labels={})"
    with pytest.raises(TypeError):
        Parcel()  # type: ignore[call-arg]


def test_a_quick_value_is_compared_replaced_and_copied() -> None:
    """As a frozen one is, by its fields."""
    parcel = Parcel("a", 2.0)
    assert replace(parcel, name="b") == Parcel("b", 2.0)
    assert parcel == Parcel("a", 2.0) != Parcel("a")
    assert copy.deepcopy(parcel) == parcel == pickle.loads(pickle.dumps(parcel))


def test_a_quick_value_can_be_a_key() -> None:
    """Its hash is that of its fields."""

    @quick
    @dataclass(frozen=True, slots=True)
    class Place:
        row: int
        column: int = 0

    assert {Place(1): "here"}[Place(1, 0)] == "here"
    assert not hasattr(Place(1), "__dict__")
