"""The classifier in the router: loaded by the settings, replaced without a restart."""

import asyncio
import contextlib
import logging
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from classifiers.artefact import SHIPPED, load, save
from classifiers.prompt import prompt_of
from classifiers.reloading import Reloading
from router.config.settings import ClassifierSettings
from router.errors import SetupError
from router.state.choices import Choices, Chosen, MemoryChoices
from router.state.redis_choices import RedisChoices
from router.state.redis_store import Keys, connect
from router.tasks import Kept, kept_current, load_classifier


def test_the_shipped_classifier_is_the_default() -> None:
    """It knows the ten tasks."""
    label = load_classifier(ClassifierSettings()).classify(prompt_of("Write a SQL query that counts users by country."))
    assert label.task == "sql_generation"


def test_an_artefact_that_is_not_there_is_a_setup_error(tmp_path: Path) -> None:
    """The message names the setting."""
    with pytest.raises(SetupError, match=r"classifier\.artefact"):
        load_classifier(ClassifierSettings(artefact=tmp_path / "none"))


def following(
    classifier: Reloading, choices: Choices | None = None, **settings: object
) -> contextlib.AbstractAsyncContextManager[Kept]:
    """The classifier as a router keeps it."""
    return kept_current(classifier, ClassifierSettings.model_validate(settings), choices or MemoryChoices())


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
    async with following(classifier, refresh_s=0.01, artefact=folder):
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
    async with following(classifier, refresh_s=0.001):
        await until(lambda: "is in use" in caplog.text, "the task ended")
    assert caplog.text.count(type(failure).__name__) == 1


async def test_nothing_looks_after_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what it stood around failed."""
    classifier = load_classifier(ClassifierSettings())
    with pytest.raises(ZeroDivisionError):
        async with following(classifier, refresh_s=0.001):
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
    async with following(classifier, refresh_s=0.01, artefact=folder, sha256=pinned):
        other = save(replace(load(SHIPPED).weights, temperature=2.0), {}, folder)
        await until(lambda: "stays" in caplog.text, "the other version was not noticed")
    assert classifier.version == pinned
    assert pinned in caplog.text
    assert other in caplog.text


def another(folder: Path, temperature: float) -> str:
    """A version of its own in a folder; its SHA-256."""
    shipped = load(SHIPPED)
    return save(replace(shipped.weights, temperature=temperature), {"note": f"at {temperature}"}, folder)


@pytest.fixture(params=["memory", "redis"])
async def choices(
    request: pytest.FixtureRequest, redis_url: str
) -> AsyncIterator[tuple[Choices, Callable[[], object]]]:
    """Each implementation, and how what it holds is lost."""
    if request.param == "memory":
        memory = MemoryChoices()
        yield memory, lambda: setattr(memory, "_chosen", None)
        return
    redis, keys = connect(redis_url, timeout_s=5), Keys(f"test-{uuid.uuid4().hex[:8]}")
    lost = Redis.from_url(redis_url)
    yield RedisChoices(redis, keys), lambda: lost.delete(keys.classifier)
    lost.close()
    await redis.aclose()


async def test_of_two_choices_at_once_the_second_is_not_made(choices: tuple[Choices, Callable[[], object]]) -> None:
    """Each names the number that it makes."""
    store, _ = choices
    assert await store.read() is None
    one = Chosen(1, "a" * 64, "ana", 5.0, "better", (None,))
    assert await store.put(one)
    assert not await store.put(Chosen(1, None, "bo", 6.0))
    assert await store.read() == one
    assert await store.put(Chosen(2, None, "bo", 6.0, former=("a" * 64, None)))


async def test_routers_follow_a_choice_and_give_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choices: tuple[Choices, Callable[[], object]]
) -> None:
    """All of them, also one that starts later; the version that is chosen is held, whatever its folder says then."""
    monkeypatch.setattr("router.tasks.LOOK_S", 0.01)
    store, lose = choices
    new, settings = another(tmp_path / "new", 2.0), {"versions": tmp_path}
    one, two, late = (load_classifier(ClassifierSettings()) for _ in range(3))
    shipped = one.version
    async with following(one, store, **settings), following(two, store, **settings):
        assert await store.put(Chosen(1, new, "ana", 5.0, "", (None,)))
        await until(lambda: one.version == two.version == new, "a router did not follow")
        async with following(late, store, **settings):
            assert late.version == new
        lose()
        deadline = time.monotonic() + 10
        while (back := await store.read()) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert (back.sha256, back.by, back.former) == (new, "ana", (None,))
        another(tmp_path / "new", 3.0)
        assert await store.put(Chosen(back.number + 1, None, "bo", 6.0))
        await until(lambda: one.version == two.version == shipped, "a router did not go back")


async def test_a_router_that_lacks_the_chosen_version_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on with its own, and takes the chosen one once it is there."""
    monkeypatch.setattr("router.tasks.LOOK_S", 0.01)
    store, sha256 = MemoryChoices(), another(tmp_path / "elsewhere" / "new", 2.0)
    classifier = load_classifier(ClassifierSettings())
    await store.put(Chosen(1, sha256, "ana", 5.0))
    async with following(classifier, store, refresh_s=0.02, versions=tmp_path / "here") as kept:
        assert sha256 in kept.problem
        assert classifier.version != sha256
        shutil.copytree(tmp_path / "elsewhere", tmp_path / "here")
        await until(lambda: classifier.version == sha256, "it was not taken up")
        await until(lambda: not kept.problem, "it still complains")
    assert caplog.text.count("no classifier on this node") == 1
