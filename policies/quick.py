"""Frozen values that are made as fast as others: what the type checker has seen to, no request pays for."""

from dataclasses import fields, make_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def quick(frozen: type[T]) -> type[T]:
    """Make instances of a frozen dataclass as cheaply as of one that is not; the type checker alone keeps them frozen.

    Python sets each field of a frozen one by a call: over the values of one request 55 µs, 5 % of what it costs a
    router. For the classes of which every request makes some.
    """
    cls: Any = frozen
    thawed: Any = make_dataclass(cls.__name__, [(one.name, one.type, one) for one in fields(cls)])
    cls.__init__ = thawed.__init__
    del cls.__setattr__, cls.__delattr__
    return frozen
