"""Explicit labels become training data, where the settings allow it and the client does not object."""

import asyncio
import logging
import time
from pathlib import Path

import pytest
from service import CHAT, DRAFT, VANILLA, running_service, settings_with, simulator

from classifiers.examples import read_examples
from classifiers.label import Label
from router.config.settings import ClassifierSettings
from router.errors import SetupError
from router.feedback import kept_feedback

SQL = Label("sql_generation", 1.0, "header")


async def test_named_tasks_are_kept_and_opted_out_ones_are_not(tmp_path: Path) -> None:
    """The header and metadata.task are kept with their prompt; guesses, refusals and opted-out requests are not."""
    path = tmp_path / "feedback.jsonl"
    asks: list[tuple[dict[str, object], dict[str, str]]] = [
        (CHAT, {"x-alpharoute-task": "sql_generation"}),
        ({**CHAT, "metadata": {"task": "translation"}}, {}),
        (CHAT, {"x-alpharoute-task": "mathematics", "x-alpharoute-feedback": "off"}),
        (CHAT, {"x-alpharoute-task": "no such task"}),
        ({**CHAT, "metadata": {"task": "nobody knows"}}, {}),
        (CHAT, {}),
    ]
    engines = {pool.name: simulator(pool) for pool in (VANILLA, DRAFT)}
    async with running_service(settings_with(classifier={"feedback": str(path)}), engines) as service:
        for body, headers in asks:
            async with service.session.post("/v1/chat/completions", json=body, headers=headers) as answer:
                await answer.read()
    kept = read_examples(path)
    assert [example.task for example in kept] == ["sql_generation", "translation"]
    assert kept[0].prompt.text == "[task:sql_generation] hello"


async def test_nothing_is_kept_unless_the_operator_says_so() -> None:
    """Without the setting the keeper takes labels and has nowhere to put them."""
    async with kept_feedback(ClassifierSettings()) as keeper:
        keeper.offer(CHAT, {}, SQL)
        assert keeper._file is None


async def test_the_file_is_written_while_requests_go_on(tmp_path: Path) -> None:
    """Not only at the end."""
    path = tmp_path / "feedback.jsonl"
    async with kept_feedback(ClassifierSettings(feedback=path), every_s=0.01) as keeper:
        keeper.offer(CHAT, {}, SQL)
        deadline = time.monotonic() + 10
        while not path.read_text():
            assert time.monotonic() < deadline, "nothing was written"
            await asyncio.sleep(0.01)


async def test_a_file_that_cannot_be_written_is_a_setup_error(tmp_path: Path) -> None:
    """The message names the setting and the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"classifier\.feedback.*kept\.jsonl"):
        async with kept_feedback(ClassifierSettings(feedback=tmp_path / "file" / "kept.jsonl")):
            raise AssertionError("it must not start")


async def test_a_full_disk_is_said_once_and_requests_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that writes does not end."""
    flushes = 0

    def flush(self: object) -> int:
        nonlocal flushes
        flushes += 1
        raise OSError("no space left")

    monkeypatch.setattr("classifiers.feedback.Feedback.flush", flush)
    caplog.set_level(logging.WARNING)
    async with kept_feedback(ClassifierSettings(feedback=tmp_path / "kept.jsonl"), every_s=0.001) as keeper:
        deadline = time.monotonic() + 10
        while flushes < 3:
            assert time.monotonic() < deadline, "it stopped trying"
            keeper.offer(CHAT, {}, SQL)
            await asyncio.sleep(0.001)
    assert caplog.text.count("no space left") == 1
