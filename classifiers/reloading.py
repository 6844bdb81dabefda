"""A classifier that follows its folder: a new version is taken up without a restart, a broken one is refused."""

from collections.abc import Mapping
from pathlib import Path

from classifiers.artefact import SHIPPED, Artefact, ArtefactError, load
from classifiers.label import Label
from classifiers.model import Model
from classifiers.prompt import Prompt


class Reloading:
    """Classifies with the version last loaded from the folder; the caller says when to look for a newer one."""

    def __init__(self, folder: Path = SHIPPED, min_confidence: float = 0.0, sha256: str | None = None) -> None:
        """Load the folder's classifier; `sha256` pins one version. Raises ArtefactError."""
        self._folder = folder
        self._min_confidence = min_confidence
        self._sha256 = sha256
        self._stamp = _stamp(folder)
        self._use(load(folder, sha256))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the version in use."""
        return self._model.tasks

    @property
    def version(self) -> str:
        """The SHA-256 of the version in use."""
        return self._artefact.sha256

    @property
    def card(self) -> Mapping[str, object]:
        """Where the version in use comes from, and how it was scored."""
        return self._artefact.card

    def classify(self, prompt: Prompt) -> Label:
        """The task by the version in use."""
        return self._model.classify(prompt)

    def refresh(self) -> bool:
        """Take up the folder's version if its card changed, and say whether one was taken up.

        Raises ArtefactError where the new version cannot be loaded; the one in use stays, and the next call tries
        again, for it may have been half written. A swap is one assignment: requests see the old version or the new.
        """
        stamp = _stamp(self._folder)
        if stamp == self._stamp:
            return False
        artefact = load(self._folder, self._sha256)
        self._stamp = stamp
        if artefact.sha256 == self._artefact.sha256:
            return False
        self._use(artefact)
        return True

    def follow(self, folder: Path, sha256: str | None) -> bool:
        """Use another folder's classifier from now on, and say whether it is another version; `sha256` pins it.

        Raises ArtefactError where it cannot be loaded; nothing changes then.
        """
        stamp, artefact = _stamp(folder), load(folder, sha256)
        before = self._artefact.sha256
        self._folder, self._sha256, self._stamp = folder, sha256, stamp
        self._use(artefact)
        return artefact.sha256 != before

    def _use(self, artefact: Artefact) -> None:
        self._artefact = artefact
        self._model = Model(artefact.weights, self._min_confidence)


def _stamp(folder: Path) -> tuple[int, int, int]:
    """What changes when the card is written or a mounted directory is swapped: inode, time and size."""
    try:
        found = (folder / "card.json").stat()
    except OSError as error:
        raise ArtefactError(f"classifier {str(folder)!r} cannot be read: {error}") from error
    return found.st_ino, found.st_mtime_ns, found.st_size
