"""Which weights a folder or hub id stands for now: so that what was learnt of others is not taken for theirs."""

import hashlib
from pathlib import Path

from engines.preflight.errors import PreflightError
from engines.preflight.places import find_model

SAMPLES, SAMPLE_BYTES = 16, 4096
"""Read of each file of weights, evenly spread: training changes nearly all of them, and 140 GB take minutes to read."""

LETTERS = 12


def revision_of(name: str) -> str | None:
    """The commit of a model in the hub's cache, else a digest of a folder's configuration and samples of its weights.

    None where it is neither, or cannot be read. Twelve hexadecimal digits.
    """
    try:
        folder = find_model(name)
        if folder.parent.name == "snapshots":
            return folder.name[:LETTERS]
        return _digest(folder)
    except (PreflightError, OSError):
        return None


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    weights = sorted(path for kind in ("*.safetensors", "*.bin", "*.pt") for path in folder.glob(kind))
    for path in (folder / "config.json", *weights):
        size = path.stat().st_size
        found.update(f"{path.name}:{size};".encode())
        with path.open("rb") as file:
            for sample in range(SAMPLES):
                file.seek(sample * max(0, size - SAMPLE_BYTES) // (SAMPLES - 1))
                found.update(file.read(SAMPLE_BYTES))
    return found.hexdigest()[:LETTERS]
