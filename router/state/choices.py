"""Which classifier operators have chosen, shared by all routers."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Chosen:
    """One choice: a version by its SHA-256, None for the one that the settings name.

    `number` counts choices from 1; `former` are those in force before, the last first, to go back to.
    """

    number: int
    sha256: str | None
    by: str
    at_s: float
    why: str = ""
    former: tuple[str | None, ...] = ()


class Choices(Protocol):
    """The choice in force; both may raise StoreError."""

    async def read(self) -> Chosen | None:
        """The choice; None where none was ever made, or Redis lost it."""

    async def put(self, chosen: Chosen) -> bool:
        """Put it in force; False, and nothing is changed, unless its number is the next."""


class MemoryChoices:
    """The choice inside one process, for tests and for a router that runs alone."""

    def __init__(self) -> None:
        self._chosen: Chosen | None = None

    async def read(self) -> Chosen | None:
        """See Choices."""
        return self._chosen

    async def put(self, chosen: Chosen) -> bool:
        """See Choices."""
        if chosen.number != (self._chosen.number if self._chosen else 0) + 1:
            return False
        self._chosen = chosen
        return True
