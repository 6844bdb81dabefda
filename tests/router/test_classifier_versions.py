"""Versions of the classifier as operators see and choose them."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from classifiers.artefact import SHIPPED, load, save
from classifiers.reloading import Reloading
from router.admin.classifier import Choice, ClassifierRoutes, ClassifierView, VersionsView, WhyBack
from router.admin.errors import Changed, Conflict
from router.admin.routes import Asked, Nothing
from router.config.settings import ClassifierSettings
from router.errors import NotFound
from router.state.choices import Chosen, MemoryChoices
from router.state.store import MemoryStore
from router.tasks import Kept


async def test_the_classifier_is_reloaded_on_request(tmp_path: Path) -> None:
    """A new version is taken up at once; a broken one is refused with its reason and the one in use stays."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("card.json", "weights.npz"):
        (folder / name).write_bytes((SHIPPED / name).read_bytes())
    kept = Kept(Reloading(folder), ClassifierSettings(artefact=folder), MemoryChoices())
    routes = ClassifierRoutes("r1", kept, MemoryStore(), time.time)
    asked = Asked("ana", {}, Nothing(), Nothing())
    said = (await routes.reload(asked)).body
    assert isinstance(said, ClassifierView)
    assert not said.taken_up
    assert said.card["sha256"] == said.version
    (folder / "card.json").write_text("{")
    with pytest.raises(Conflict, match="stays"):
        await routes.reload(asked)
    assert (await routes.view(asked)).body == said


async def test_a_version_is_chosen_and_taken_back(tmp_path: Path) -> None:
    """Listed with provenance and scores, found by the start of its hash, in the log of events, undone in one call."""
    shipped = load(SHIPPED)
    new = save(
        replace(shipped.weights, temperature=2.0), {**shipped.card, "sha256": "", "note": "night"}, tmp_path / "n"
    )
    card = json.loads((tmp_path / "n" / "card.json").read_text())
    (tmp_path / "n" / "card.json").write_text(json.dumps({**card, "sha256": new}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{")
    kept = Kept(Reloading(), ClassifierSettings(versions=tmp_path), MemoryChoices())
    store = MemoryStore()
    routes = ClassifierRoutes("r1", kept, store, lambda: 7.0)
    listed = (await routes.versions(Asked("ana", {}, Nothing(), Nothing()))).body
    assert isinstance(listed, VersionsView)
    assert [(one.sha256, one.in_use) for one in listed.versions] == [
        (shipped.sha256, True),
        (None, False),
        (new, False),
    ]
    assert "cannot be read" in str(listed.versions[1].problem)
    night = listed.versions[2]
    assert (night.provenance["note"], set(night.provenance) >= {"data", "libraries"}) == ("night", True)
    assert 0 < night.scores["macro_f1_tasks"] < 1

    async def choose(sha256: str | None, why: str = "") -> ClassifierView:
        said = (await routes.activate(Asked("ana", {}, Nothing(), Choice(sha256=sha256, why=why)))).body
        assert isinstance(said, ClassifierView)
        return said

    said = await choose(new[:8], "surer")
    assert (said.version, said.taken_up) == (new, True)
    assert said.chosen == Chosen(1, new, "ana", 7.0, "surer", (None,))
    (logged,) = await store.logged(9)
    assert logged.event.detail == f"ana chose {new[:12]}: surer"
    with pytest.raises(NotFound, match="0 classifiers begin with"):
        await choose("0" * 8)
    back = (await routes.rollback(Asked("bo", {}, Nothing(), WhyBack()))).body
    assert isinstance(back, ClassifierView)
    assert (back.version, back.chosen and back.chosen.former) == (shipped.sha256, ())
    with pytest.raises(Conflict, match="no version before"):
        await routes.rollback(Asked("bo", {}, Nothing(), WhyBack()))


async def test_a_version_that_cannot_be_used_is_not_chosen(tmp_path: Path) -> None:
    """Altered weights, a pin in the settings, another operator at the same moment: the one in use stays everywhere."""
    shipped = load(SHIPPED)
    new = save(replace(shipped.weights, temperature=2.0), {}, tmp_path / "new")
    choices = MemoryChoices()

    async def choose(**settings: object) -> None:
        found = ClassifierSettings.model_validate({"versions": tmp_path, **settings})
        routes = ClassifierRoutes("r1", Kept(Reloading(), found, choices), MemoryStore(), time.time)
        await routes.activate(Asked("ana", {}, Nothing(), Choice(sha256=new)))

    with pytest.raises(Conflict, match=rf"classifier\.sha256 allows '{shipped.sha256}'"):
        await choose(sha256=shipped.sha256)
    weights = tmp_path / "new" / "weights.npz"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    with pytest.raises(Conflict, match="stays"):
        await choose()
    weights.write_bytes(content)
    assert await choices.read() is None

    class Late(MemoryChoices):
        async def put(self, chosen: Chosen) -> bool:
            return False

    choices = Late()
    with pytest.raises(Changed):
        await choose()
