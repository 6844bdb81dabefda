"""A trained classifier on disk: `weights.npz` (arrays, never pickle) and `card.json` (provenance and its SHA-256)."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from classifiers.lexicon import lexicon_sha256
from classifiers.model import Weights
from classifiers.structure import NAMES
from classifiers.words import BLOCKS

SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the classifier that the project ships."""

FORMAT = 2
_SEPARATOR = "\x00"


class ArtefactError(ValueError):
    """A classifier's folder cannot be loaded: a file is missing, altered, or of another format."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """Loaded weights with the card that says where they come from and the SHA-256 that names this version."""

    weights: Weights
    card: Mapping[str, object]
    sha256: str


def load(folder: Path = SHIPPED, sha256: str | None = None) -> Artefact:
    """The classifier in the folder; its hash must be that on the card and, where given, `sha256`.

    Raises ArtefactError. Nothing in the files is executed: arrays load with pickle refused.
    """
    try:
        card = json.loads((folder / "card.json").read_text())
        content = (folder / "weights.npz").read_bytes()
    except (OSError, ValueError) as error:
        raise ArtefactError(f"classifier {str(folder)!r} cannot be read: {error}") from error
    if not isinstance(card, dict):
        raise ArtefactError(f"classifier {str(folder)!r} has a card.json that is no object")
    found = hashlib.sha256(content).hexdigest()
    for name, wanted in (("its card.json", card.get("sha256")), ("the setting classifier.sha256", sha256 or found)):
        if wanted != found:
            raise ArtefactError(f"classifier {str(folder)!r} has SHA-256 {found!r}, {name} demands {wanted!r}")
    if card.get("format") != FORMAT:
        raise ArtefactError(f"classifier {str(folder)!r} has format {card.get('format')!r}, allowed is {FORMAT}")
    if card.get("lexicon_sha256") != lexicon_sha256():
        raise ArtefactError(
            f"classifier {str(folder)!r} was trained with other word lists than this version's: retrain it"
        )
    return Artefact(_decode(content, folder), card, found)


def save(weights: Weights, card: Mapping[str, object], folder: Path) -> str:
    """Write the classifier and its card into the folder, and return the SHA-256 of its weights."""
    content = _encode(weights)
    digest = hashlib.sha256(content).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.npz").write_bytes(content)
    known = {"format": FORMAT, "sha256": digest, "lexicon_sha256": lexicon_sha256()}
    text = json.dumps({**known, **card}, indent=2, ensure_ascii=False)
    (folder / "card.json").write_text(text + "\n")
    return digest


def _encode(weights: Weights) -> bytes:
    header = {
        "tasks": weights.tasks,
        "temperature": weights.temperature,
        "tools_bonus": weights.tools_bonus,
        "rows": {block: len(weights.vocabulary[block]) for block in BLOCKS},
    }
    names = [name for block in BLOCKS for name in weights.vocabulary[block]]
    scale = np.abs(weights.words).max(axis=1, keepdims=True).clip(1e-8) / 127
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        header=_bytes(json.dumps(header)),
        names=_bytes(_SEPARATOR.join(names)),
        words=np.rint(weights.words / scale).astype(np.int8),
        scale=scale.astype(np.float16),
        shape=weights.shape.astype(np.float32),
        bias=weights.bias.astype(np.float32),
    )
    return buffer.getvalue()


def _decode(content: bytes, folder: Path) -> Weights:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            names = arrays["names"].tobytes().decode().split(_SEPARATOR)
            words = arrays["words"].astype(np.float32) * arrays["scale"].astype(np.float32)
            weights = Weights(
                tasks=tuple(header["tasks"]),
                vocabulary=_vocabulary(names, header["rows"]),
                words=words,
                shape=arrays["shape"],
                bias=arrays["bias"],
                temperature=float(header["temperature"]),
                tools_bonus=float(header["tools_bonus"]),
            )
    except (KeyError, TypeError, ValueError, BadZipFile) as error:
        raise ArtefactError(f"classifier {str(folder)!r} does not hold the arrays expected: {error}") from error
    columns = len(weights.tasks)
    shapes = (weights.words.shape, weights.shape.shape, weights.bias.shape)
    if shapes != ((len(names), columns), (len(NAMES), columns), (columns,)):
        raise ArtefactError(f"classifier {str(folder)!r} has arrays of {shapes!r} for {columns} tasks")
    return weights


def _vocabulary(names: list[str], rows: Mapping[str, int]) -> dict[str, dict[str, int]]:
    vocabulary: dict[str, dict[str, int]] = {}
    start = 0
    for block in BLOCKS:
        end = start + rows[block]
        vocabulary[block] = dict(zip(names[start:end], range(start, end), strict=True))
        start = end
    return vocabulary


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
