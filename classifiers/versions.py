"""The trained classifiers there are to choose from, by their cards: whether one can be used shows when it is loaded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from classifiers.artefact import SHIPPED


@dataclass(frozen=True, slots=True)
class Version:
    """A classifier in a folder: the SHA-256 that its card claims (None where the card cannot be read) and the card."""

    folder: Path
    sha256: str | None
    card: Mapping[str, object]
    problem: str | None = None


def versions_in(named: Path | None, shelf: Path | None) -> list[Version]:
    """The shipped classifier, the one that the settings name, and each folder of the shelf, by its name."""
    folders = [SHIPPED, *([named] if named else []), *(_inside(shelf) if shelf else [])]
    return [_version(folder) for folder in dict.fromkeys(folders)]


def with_sha256(versions: Sequence[Version], start: str) -> list[str]:
    """The versions whose SHA-256 begins so, each once."""
    return sorted({one.sha256 for one in versions if one.sha256 is not None and one.sha256.startswith(start)})


def _inside(shelf: Path) -> list[Path]:
    try:
        return sorted(path for path in shelf.iterdir() if (path / "card.json").exists())
    except OSError:
        return []


def _version(folder: Path) -> Version:
    try:
        card = json.loads((folder / "card.json").read_text())
        return Version(folder, str(card["sha256"]), card)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Version(folder, None, {}, f"its card cannot be read: {type(error).__name__}: {error}")
