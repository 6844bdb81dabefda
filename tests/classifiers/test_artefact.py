"""The file format: what is written is read, and nothing else is."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from classifiers.artefact import SHIPPED, ArtefactError, load, save
from classifiers.model import Model, Weights
from classifiers.prompt import prompt_of
from classifiers.structure import NAMES
from classifiers.words import BLOCKS


def weights() -> Weights:
    """Two tasks, told apart by one word."""
    vocabulary: dict[str, dict[str, int]] = {block: {} for block in BLOCKS}
    vocabulary["word"] = {"poem": 0, "sum": 1}
    words = np.array([[3.0, -3.0], [-3.0, 3.0]], dtype=np.float32)
    shape = np.zeros((len(NAMES), 2), dtype=np.float32)
    return Weights(
        ("creative_writing", "mathematics"), vocabulary, words, shape, np.zeros(2, dtype=np.float32), 0.5, 2.0
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the small classifier."""
    save(weights(), {"note": "test"}, tmp_path)
    return tmp_path


def test_what_is_saved_is_loaded(folder: Path) -> None:
    """A saved classifier labels as before; weights are kept to within one part in a hundred."""
    artefact = load(folder)
    assert artefact.card["note"] == "test"
    assert artefact.weights.vocabulary == weights().vocabulary
    assert np.allclose(artefact.weights.words, weights().words, rtol=0.01)
    assert (artefact.weights.temperature, artefact.weights.tools_bonus) == (0.5, 2.0)
    assert Model(artefact.weights).classify(prompt_of("a poem")).task == "creative_writing"


def flip(folder: Path) -> None:
    """Change one byte of the weights."""
    content = bytearray((folder / "weights.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "weights.npz").write_bytes(content)


def drop_weights(folder: Path) -> None:
    """Remove the weights."""
    (folder / "weights.npz").unlink()


def break_card(folder: Path) -> None:
    """Cut the card short."""
    (folder / "card.json").write_text('{"format"')


def other_format(folder: Path) -> None:
    """Claim a format of the future."""
    edit_card(folder, format=99)


def other_lexicon(folder: Path) -> None:
    """Claim to be trained with other word lists."""
    edit_card(folder, lexicon_sha256="0" * 64)


def list_card(folder: Path) -> None:
    """Replace the card's object by a list."""
    (folder / "card.json").write_text("[]")


def edit_card(folder: Path, **fields: object) -> None:
    """Overwrite fields of the card."""
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **fields}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "SHA-256"),
        (drop_weights, "cannot be read"),
        (break_card, "cannot be read"),
        (list_card, "card"),
        (other_format, "format 99"),
        (other_lexicon, "retrain"),
    ],
)
def test_a_damaged_classifier_is_refused(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    """Every kind of damage is named, and none is loaded."""
    damage(folder)
    with pytest.raises(ArtefactError, match=said):
        load(folder)


def test_a_pinned_version_refuses_another(folder: Path) -> None:
    """An operator who names a hash gets that version or none."""
    with pytest.raises(ArtefactError, match="the setting"):
        load(folder, sha256="f" * 64)
    assert load(folder, sha256=load(folder).sha256).sha256 == load(folder).sha256


class Trap:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_pickled_objects_are_never_run(tmp_path: Path) -> None:
    """Weights that hide a pickle are refused although their hash is right, and the pickle is not run."""
    import hashlib

    mark = tmp_path / "ran"
    save(weights(), {}, tmp_path)
    trap = np.array([Trap(mark)], dtype=object)
    np.savez(tmp_path / "weights.npz", allow_pickle=True, header=trap, names=trap)
    edit_card(tmp_path, sha256=hashlib.sha256((tmp_path / "weights.npz").read_bytes()).hexdigest())
    with pytest.raises(ArtefactError):
        load(tmp_path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the trap must be able to spring, else this test shows nothing"


def test_the_shipped_classifier_is_small_and_has_its_card() -> None:
    """The package stays light, and whoever installs it can see what the classifier was trained on."""
    artefact = load()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 2_000_000
    assert {"data", "libraries", "recipe", "scores_on_sources_left_out"} <= set(artefact.card)
