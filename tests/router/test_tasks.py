"""The classifier in the router: loaded by the settings, replaced without a restart."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from classifiers.artefact import SHIPPED, load, save
from classifiers.prompt import prompt_of
from router.config.settings import ClassifierSettings
from router.errors import SetupError
from router.tasks import kept_current, load_classifier


def test_the_shipped_classifier_is_the_default() -> None:
    """It knows the ten tasks."""
    label = load_classifier(ClassifierSettings()).classify(prompt_of("Write a SQL query that counts users by country."))
    assert label.task == "sql_generation"


def test_an_artefact_that_is_not_there_is_a_setup_error(tmp_path: Path) -> None:
    """The message names the setting."""
    with pytest.raises(SetupError, match=r"classifier\.artefact"):
        load_classifier(ClassifierSettings(artefact=tmp_path / "none"))


async def until(good: Callable[[], bool], what: str) -> None:
    """Wait for a condition, a deadline at most."""
    deadline = time.monotonic() + 10
    while not good():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


async def test_a_half_written_version_is_taken_up_when_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While its weights are not there it is said once and prompts are classified as before; then it is in use."""
    folder, rest = tmp_path / "classifier", tmp_path / "rest"
    shutil.copytree(SHIPPED, folder)
    classifier = load_classifier(ClassifierSettings(artefact=folder))
    before = classifier.version
    async with kept_current(classifier, every_s=0.01):
        (weights,) = folder.glob("*.npz")
        weights.rename(rest)
        card = folder / "card.json"
        card.write_text(card.read_text() + " ")
        await until(lambda: "stays" in caplog.text, "the broken version was not noticed")
        assert classifier.version == before
        assert classifier.classify(prompt_of("Translate to French: good morning")).task == "translation"
        in_use = classifier._stamp
        rest.rename(weights)
        await until(lambda: classifier._stamp != in_use, "the whole version was not taken up")
    assert caplog.text.count("stays") == 1


@pytest.mark.parametrize("failure", [MemoryError(), OSError("stale file handle"), KeyError("weights")])
async def test_whatever_a_new_version_raises_the_old_one_is_kept(
    failure: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that looks does not end, and says each reason once."""
    classifier, failures = load_classifier(ClassifierSettings()), [failure] * 5

    def refresh() -> bool:
        if failures:
            raise failures.pop()
        return True

    monkeypatch.setattr(classifier, "refresh", refresh)
    caplog.set_level(logging.INFO)
    async with kept_current(classifier, every_s=0.001):
        await until(lambda: "is in use" in caplog.text, "the task ended")
    assert caplog.text.count(type(failure).__name__) == 1


async def test_nothing_looks_after_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what it stood around failed."""
    classifier = load_classifier(ClassifierSettings())
    with pytest.raises(ZeroDivisionError):
        async with kept_current(classifier, every_s=0.001):
            raise ZeroDivisionError
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def test_a_pinned_version_is_the_only_one_that_starts() -> None:
    """The right hash starts; a wrong one is refused with both hashes and the setting's name."""
    pinned = load_classifier(ClassifierSettings()).version
    assert load_classifier(ClassifierSettings(sha256=pinned)).version == pinned
    with pytest.raises(SetupError, match=rf"classifier\.artefact.*{pinned}.*{'0' * 64}"):
        load_classifier(ClassifierSettings(sha256="0" * 64))


async def test_a_pinned_version_is_not_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another version in the folder is said with both hashes, and the pinned one stays in use."""
    folder = tmp_path / "classifier"
    shutil.copytree(SHIPPED, folder)
    pinned = load_classifier(ClassifierSettings()).version
    classifier = load_classifier(ClassifierSettings(artefact=folder, sha256=pinned))
    async with kept_current(classifier, every_s=0.01):
        other = save(replace(load(SHIPPED).weights, temperature=2.0), {}, folder)
        await until(lambda: "stays" in caplog.text, "the other version was not noticed")
    assert classifier.version == pinned
    assert pinned in caplog.text
    assert other in caplog.text
