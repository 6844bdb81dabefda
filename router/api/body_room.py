"""How much of requests' bodies one router holds at a time: many large ones at once must not fill its memory."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from router.errors import Overloaded

FREE_BYTES = 64 * 1024
"""Bodies up to this size always find room, so that whoever sends large ones slowly keeps nobody else out."""


@dataclass(slots=True)
class BodyRoom:
    """Bytes that bodies above FREE_BYTES take, and the most they may; one alone always finds room."""

    limit_bytes: int
    held_bytes: int = 0

    def share(self) -> "BodyShare":
        """One request's part of it, none as yet."""
        return BodyShare(self)


@dataclass(slots=True)
class BodyShare:
    """What one request holds of the room; a context manager that gives it back."""

    room: BodyRoom
    held_bytes: int = 0

    def grow(self, size_bytes: int) -> None:
        """Hold a body that has grown to this size; raises Overloaded where there is no room."""
        if size_bytes <= FREE_BYTES:
            return
        others_bytes = self.room.held_bytes - self.held_bytes
        if others_bytes and others_bytes + size_bytes > self.room.limit_bytes:
            message = f"The router holds as many large bodies as it may ({self.room.limit_bytes} bytes): try again."
            raise Overloaded(message, param="body", code="bodies_full", headers={"retry-after": "1"})
        self._hold(size_bytes)

    def decoded(self, size_bytes: int) -> None:
        """Hold what a body takes together with what is read of it, but nothing of one that found room for free."""
        if self.held_bytes:
            self.grow(size_bytes)

    def shrink(self, size_bytes: int) -> None:
        """Hold no more than this of it any longer."""
        self._hold(min(size_bytes, self.held_bytes))

    def _hold(self, size_bytes: int) -> None:
        self.room.held_bytes += size_bytes - self.held_bytes
        self.held_bytes = size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hold(0)
