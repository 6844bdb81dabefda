"""Where routers share versions, as a seam; and its in-memory implementation."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from router.state.store import StoreError
from router.steering.errors import Away
from router.steering.versions import Commit, Desk, Entry, Version

HISTORY_KEPT = 10_000


class VersionStore(Protocol):
    """The desk, the versions and the audit trail; every method may raise `router.state.store.StoreError`."""

    async def desk(self) -> Desk:
        """What is in force."""

    async def versions(self, ids: Collection[int] | None = None) -> Mapping[int, Version]:
        """Versions by number, all or those asked for; one that is not there is left out."""

    async def commit(self, commit: Commit) -> bool:
        """Make a change as one step; False, and nothing is done, where the desk is at another revision."""

    async def history(self, last: int) -> Sequence[Entry]:
        """The newest lines of the audit trail, newest first."""


class MemoryVersionStore:
    """Versions inside one process, for tests and for a router that runs alone."""

    def __init__(self) -> None:
        self._desk = Desk()
        self._versions: dict[int, Version] = {}
        self._history: list[Entry] = []

    async def desk(self) -> Desk:
        """See VersionStore."""
        return self._desk

    async def versions(self, ids: Collection[int] | None = None) -> Mapping[int, Version]:
        """See VersionStore."""
        wanted = self._versions if ids is None else ids
        return {number: self._versions[number] for number in wanted if number in self._versions}

    async def commit(self, commit: Commit) -> bool:
        """See VersionStore."""
        if self._desk.revision != commit.expected:
            return False
        self._desk = commit.desk
        self._versions |= {version.id: version for version in commit.put}
        for number in commit.remove:
            self._versions.pop(number, None)
        self._history = [*self._history, commit.entry][-HISTORY_KEPT:]
        return True

    async def history(self, last: int) -> Sequence[Entry]:
        """See VersionStore."""
        return self._history[::-1][:last]


@contextlib.asynccontextmanager
async def or_away() -> AsyncIterator[None]:
    """A store that cannot be reached, as Away."""
    try:
        yield
    except StoreError as error:
        raise Away(f"The store cannot be reached: {error}") from error
