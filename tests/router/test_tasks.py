"""The classifier in the router: loaded by the settings, replaced without a restart."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from classifiers.artefact import SHIPPED
from classifiers.prompt import prompt_of
from router.errors import SetupError
from router.settings import ClassifierSettings
from router.tasks import keep_current, load_classifier


def test_the_shipped_classifier_is_the_default() -> None:
    """It knows the ten tasks."""
    label = load_classifier(ClassifierSettings()).classify(prompt_of("Write a SQL query that counts users by country."))
    assert label.task == "sql_generation"


def test_an_artefact_that_is_not_there_is_a_setup_error(tmp_path: Path) -> None:
    """The message names the setting."""
    with pytest.raises(SetupError, match=r"classifier\.artefact"):
        load_classifier(ClassifierSettings(artefact=tmp_path / "none"))


async def test_a_broken_new_version_leaves_the_old_one_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and prompts are classified as before."""
    folder = tmp_path / "classifier"
    shutil.copytree(SHIPPED, folder)
    classifier = load_classifier(ClassifierSettings(artefact=folder))
    before = classifier.version
    keeping = asyncio.create_task(keep_current(classifier, every_s=0.01))
    (folder / "card.json").write_text("{}")
    deadline = time.monotonic() + 10
    while "stays" not in caplog.text:
        assert time.monotonic() < deadline, "the broken version was not noticed"
        await asyncio.sleep(0.01)
    keeping.cancel()
    assert classifier.version == before
    assert classifier.classify(prompt_of("Translate to French: good morning")).task == "translation"
