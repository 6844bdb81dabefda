"""Which classifier names tasks, and looking for a newer one now instead of soon."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from classifiers.artefact import ArtefactError
from classifiers.label import Classifier
from router.admin.errors import Conflict
from router.admin.routes import AnyRoute, Asked, Nothing, Said, changing, reading


@runtime_checkable
class Versioned(Protocol):
    """A classifier that follows a folder."""

    @property
    def version(self) -> str:
        """The SHA-256 of the version in use."""

    @property
    def card(self) -> Mapping[str, object]:
        """Where it comes from and how it was scored."""

    def refresh(self) -> bool:
        """Take up the folder's version if it changed; raises ArtefactError."""


@dataclass(frozen=True, slots=True)
class ClassifierView:
    """The classifier in use; `version` is the SHA-256 of its weights, None for one that has none.

    `card` says what it was trained on and how it was scored. `taken_up`: whether this request brought a new version.
    """

    router: str
    version: str | None
    tasks: tuple[str, ...]
    card: Mapping[str, object]
    taken_up: bool = False


@dataclass(frozen=True, slots=True)
class ClassifierRoutes:
    """The classifier of this router; each router follows the folder by itself."""

    router: str
    classifier: Classifier

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [
            reading("/classifier", ClassifierView, self.view, Nothing),
            changing("POST", "/classifier/reload", ClassifierView, self.reload, Nothing, 409),
        ]

    async def view(self, asked: Asked[Nothing, Nothing]) -> Said:
        """The version in use, and how it was scored."""
        return Said(self._view())

    async def reload(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Look at its folder now; the other routers do within classifier.refresh_s."""
        if not isinstance(self.classifier, Versioned):
            raise Conflict("This classifier comes from no folder: there is nothing to load.", code="wrong_state")
        try:
            taken_up = await asyncio.to_thread(self.classifier.refresh)
        except ArtefactError as error:
            raise Conflict(f"The classifier in use stays: {error}", code="unusable_classifier") from None
        return Said(self._view(taken_up))

    def _view(self, taken_up: bool = False) -> ClassifierView:
        found = self.classifier
        if isinstance(found, Versioned):
            return ClassifierView(self.router, found.version, found.tasks, found.card, taken_up)
        return ClassifierView(self.router, None, found.tasks, {})
