"""What operators say of engine replicas, shared by all routers: apart from heartbeats, so that none can undo it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

MarkKind = Literal["drain", "cordon"]


@dataclass(frozen=True, slots=True)
class Mark:
    """`drain`: no new requests. `cordon`: none as long as another replica of the model can take them."""

    kind: MarkKind
    by: str
    at_s: float
    why: str = ""


class Marks(Protocol):
    """Marks by replica; every method may raise StoreError."""

    async def all(self) -> Mapping[str, Mark]:
        """Every mark there is."""

    async def put(self, replica: str, mark: Mark) -> None:
        """Mark a replica, in place of the mark it has."""

    async def remove(self, replica: str) -> bool:
        """Take a mark away; whether there was one."""


class MemoryMarks:
    """Marks inside one process, for tests and for a router that runs alone."""

    def __init__(self) -> None:
        self._marks: dict[str, Mark] = {}

    async def all(self) -> Mapping[str, Mark]:
        """See Marks."""
        return dict(self._marks)

    async def put(self, replica: str, mark: Mark) -> None:
        """See Marks."""
        self._marks[replica] = mark

    async def remove(self, replica: str) -> bool:
        """See Marks."""
        return self._marks.pop(replica, None) is not None
