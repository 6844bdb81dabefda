"""Retraining in place: the same bytes every time, a card that says all, and never a worse version by accident."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from classifiers.commands import app
from classifiers.examples import Example
from classifiers.prompt import prompt_of

run = CliRunner().invoke

VERBS = (("brewing", "brew the coffee"), ("sailing", "hoist the sail"))


def examples(source: str) -> list[Example]:
    """A few prompts of two tasks from six families of a source."""
    return [
        Example(task, prompt_of(f"{verb} of {source} {at} for me, number {at}"), f"{source}{at % 6}")
        for at in range(18)
        for task, verb in VERBS
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two files of examples from outside, with their licences."""
    found = tmp_path / "outside"
    found.mkdir()
    for name, licence in (("harbour", "MIT"), ("kitchen", "CC0-1.0")):
        lines = [
            {"task": item.task, "prompt": item.prompt.text, "source": f"{name}{at % 3}", "license": licence}
            for at, item in enumerate(examples(name))
        ]
        (found / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


@pytest.fixture(autouse=True)
def small_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of a few prompts instead of thousands."""
    monkeypatch.setattr("classifiers.commands.corpus", lambda seed: examples(f"own{seed}"))


def train(folder: Path, out: Path, *options: str) -> dict[str, Any]:
    """The card of what the command trained."""
    done = run(app, ["train", str(folder), "--folds", "2", "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    card: dict[str, Any] = json.loads((out / "card.json").read_text())
    return card


def test_the_card_names_sources_licences_the_seed_and_both_scores(tmp_path: Path, folder: Path) -> None:
    """Every file of the folder is read, and what the own corpus makes of them alone stands beside the score."""
    card = train(folder, tmp_path / "m", "--own-alone", "--seed", "3")
    sources = card["data"]["outside_sources"]
    assert sources["harbour0"] == {"examples": 12, "licences": ["MIT"]}
    assert sources["kitchen2"]["licences"] == ["CC0-1.0"]
    assert card["corpus_seed"] == 3
    scored = card["scores_of_own_corpus_alone"]["per_source"]
    assert scored.keys() == card["scores_on_sources_left_out"]["per_source"].keys() == sources.keys()


def test_a_version_that_scores_worse_does_not_take_the_place(tmp_path: Path, folder: Path) -> None:
    """The scores that fell are named with both figures, the files stay as they were; the operator may insist."""
    out = tmp_path / "m"
    card = train(folder, out)
    train(folder, out)  # as good as before is good enough
    card["scores_on_sources_left_out"]["macro_f1_tasks"] = 1.2
    (out / "card.json").write_text(json.dumps(card))
    refused = run(app, ["train", str(folder), "--folds", "2", "--out", str(out)])
    assert refused.exit_code == 1
    assert "macro_f1_tasks" in refused.stderr
    assert "was 1.200" in refused.stderr
    assert json.loads((out / "card.json").read_text()) == card
    assert train(folder, out, "--accept-worse")["scores_on_sources_left_out"]["macro_f1_tasks"] <= 1


@pytest.mark.parametrize("text", ["", "[]", "{", '{"scores_on_sources_left_out": 3}'])
def test_a_card_that_says_nothing_bars_nobody(tmp_path: Path, folder: Path, text: str) -> None:
    """A folder with a damaged version can be trained into."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "card.json").write_text(text)
    train(folder, tmp_path / "m")


def test_the_own_corpus_alone_needs_something_to_score(tmp_path: Path) -> None:
    """Without files there is nothing that it has not seen."""
    failed = run(app, ["train", "--own-alone", "--folds", "2", "--out", str(tmp_path / "m")])
    assert failed.exit_code == 1
    assert "--own-alone needs files" in failed.stderr


def test_processes_that_hash_differently_train_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    """The order of a set's words differs from process to process; the weights and the card do not."""
    command = [sys.executable, "-c", "from classifiers.commands import app; app()"]
    for seed in ("1", "2"):
        subprocess.run(
            [*command, "train", str(folder), "--no-own", "--folds", "2", "--out", str(tmp_path / seed)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
        )
    for name in ("weights.npz", "card.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
