"""`python -m bench`: every benchmark in turn."""

import importlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import bench.__main__ as everything

TYPED = [step for step in everything.STEPS if hasattr(importlib.import_module(f"{step.module}.__main__"), "typer")]


@pytest.fixture
def app() -> typer.Typer:
    """The command."""
    made = typer.Typer()
    made.command()(everything.main)
    return made


def test_one_that_fails_does_not_keep_the_others_from_running(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour's run that breaks in its first minute still has something to show, and its exit code says it broke."""
    ran: list[str] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command[2])
        return subprocess.CompletedProcess(command, 3 if command[2] == "bench.scale" else 0)

    monkeypatch.setattr(subprocess, "run", run)
    found = CliRunner().invoke(app, ["--only", "soak,scale,live", "--out", str(tmp_path)], env={"COLUMNS": "200"})
    assert (ran, found.exit_code) == (["bench.live", "bench.scale", "bench.soak"], 1)
    assert "exit code 3" in found.output
    assert CliRunner().invoke(app, ["--only", "live", "--out", str(tmp_path)]).exit_code == 0


def test_the_quick_run_leaves_out_what_another_does_unless_it_is_asked_for(app: typer.Typer) -> None:
    """Another load of the same service is a minute of starting it again."""

    def modules(*options: str) -> int:
        return CliRunner().invoke(app, ["--dry-run", *options]).output.count("python -m")

    assert (modules(), modules("--quick")) == (len(everything.STEPS), len(everything.STEPS) - 1)
    assert modules("--quick", "--only", "loads,soak") == 2


@pytest.mark.parametrize("quick", [False, True], ids=["whole", "quick"])
@pytest.mark.parametrize("step", TYPED, ids=[step.name for step in TYPED])
def test_its_options_are_those_of_the_benchmark(step: everything.Step, quick: bool, tmp_path: Path) -> None:
    """A benchmark whose options change takes this one along."""
    made = typer.Typer()
    made.command()(importlib.import_module(f"{step.module}.__main__").main)
    typer.main.get_command(made).make_context(step.module, step.command(tmp_path, quick=quick)[3:])
