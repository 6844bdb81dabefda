"""The policy in a file of its own: an edit is taken up, a mistake is not."""

import asyncio
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from policies.document import Document
from policies.knowledge import Knowledge
from router.config.settings import Settings
from router.errors import SetupError
from router.observe.telemetry import Telemetry
from router.policy_file import policy_followed, read_policy
from router.steering.pilot import Pilot
from router.steering.store import MemoryVersionStore

VANILLA = "tasks: {legal_analysis: {mode: vanilla}}\n"


def pilot_of(knowledge: Knowledge, telemetry: Telemetry) -> Pilot:
    """What the file's policy is handed to."""
    return Pilot(MemoryVersionStore(), knowledge, telemetry, time.time, "file")


async def _until(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not good():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.005)


def _mount(folder: Path, version: str, text: str) -> Path:
    """Put a version there as the kubelet does: a new folder, and a link that is replaced at once."""
    (folder / version).mkdir()
    (folder / version / "policy.yaml").write_text(text)
    (folder / "..tmp").symlink_to(version)
    os.replace(folder / "..tmp", folder / "..data")
    file = folder / "policy.yaml"
    if not file.is_symlink():
        file.symlink_to("..data/policy.yaml")
    return file


async def test_an_edit_is_taken_up(tmp_path: Path) -> None:
    """A ConfigMap mounted as a folder changes under a running router."""
    file, knowledge = _mount(tmp_path, "v1", ""), Knowledge()
    async with policy_followed(file, pilot_of(knowledge, Telemetry()), every_s=0.01):
        assert knowledge.document == Document()
        _mount(tmp_path, "v2", VANILLA)
        await _until(
            lambda: knowledge.document.tasks["legal_analysis"].mode == "vanilla" if knowledge.document.tasks else False
        )


async def test_a_wrong_edit_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The policy in use stays, the log and a metric say so, and the next right one is taken."""
    file, knowledge, telemetry = tmp_path / "policy.yaml", Knowledge(), Telemetry()
    file.write_text(VANILLA)
    current = functools.partial(telemetry.registry.get_sample_value, "alpharoute_policy_current")
    async with policy_followed(file, pilot_of(knowledge, telemetry), every_s=0.01):
        before = knowledge.document
        assert current() == 1
        file.write_text("tasks: {legal_analysis: {mod: vanilla}}")
        await _until(lambda: current() == 0)
        assert knowledge.document is before
        assert "the policy in use stays" in caplog.text
        assert "tasks.legal_analysis.mod" in caplog.text
        file.unlink()
        file.write_text("kill_switch: true")
        await _until(lambda: current() == 1)
        assert knowledge.document.kill_switch


@pytest.mark.parametrize("text", [None, "tasks: {legal_analysis: {mod: vanilla}}", "{"])
async def test_a_router_starts_though_the_file_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    """With what is in force, and loudly: the log, the metric and the status say so; a mended file is taken up."""
    file, knowledge, telemetry = tmp_path / "policy.yaml", Knowledge(), Telemetry()
    if text is not None:
        file.write_text(text)
    current = functools.partial(telemetry.registry.get_sample_value, "alpharoute_policy_current")
    pilot = pilot_of(knowledge, telemetry)
    async with policy_followed(file, pilot, every_s=0.01):
        assert knowledge.document == Document()
        assert current() == 0
        assert "policy.yaml" in (pilot.status().problem or "")
        assert [record.levelname for record in caplog.records if "starting with" in record.message] == ["ERROR"]
        file.unlink(missing_ok=True)
        file.write_text("kill_switch: true")
        await _until(lambda: current() == 1)
        assert knowledge.document.kill_switch


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    """That it is not there, what it should be, or that it is no YAML."""
    with pytest.raises(SetupError, match="cannot be read"):
        read_policy(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(SetupError, match=r"list\.yaml is wrong"):
        read_policy(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("{")
    with pytest.raises(SetupError, match="not YAML"):
        read_policy(tmp_path / "bad.yaml")


def test_there_is_one_policy() -> None:
    """In the settings or in a file."""
    with pytest.raises(ValidationError, match="exclude each other"):
        Settings.model_validate({"policy": {"kill_switch": True}, "policy_file": "policy.yaml"})
