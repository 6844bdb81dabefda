"""Reloading, feedback, examples on disk, and the command line."""

import json
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from classifiers.artefact import SHIPPED, ArtefactError, load, save
from classifiers.commands import _training, app
from classifiers.examples import read_examples, write_examples
from classifiers.model import Model
from classifiers.prompt import prompt_of
from classifiers.reloading import Reloading
from classifiers.scoring import source_family
from classifiers.training import featured, train

run = CliRunner().invoke

LINES = [
    {"task": task, "prompt": f"{verb} number {at} for me", "source": f"s{at % 3} x"}
    for at in range(12)
    for task, verb in (("brewing", "brew the coffee"), ("sailing", "hoist the sail"))
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of examples of two tasks."""
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def test_a_new_version_is_taken_up_without_a_restart(tmp_path: Path, file: Path) -> None:
    """After a refresh the classifier knows the new version's tasks; without a change there is nothing to do."""
    save(load().weights, {}, tmp_path / "c")
    classifier = Reloading(tmp_path / "c")
    before = classifier.version
    assert classifier.refresh() is False
    save(train(featured(read_examples(file))), {"note": "new"}, tmp_path / "c")
    assert classifier.refresh() is True
    assert classifier.version != before
    assert set(classifier.tasks) == {"brewing", "sailing", "other"}
    assert classifier.classify(prompt_of("brew the coffee number 3 for me")).task == "brewing"


def test_a_broken_version_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    """The operator is told once, and requests go on being classified."""
    save(load().weights, {}, tmp_path / "c")
    classifier = Reloading(tmp_path / "c")
    (tmp_path / "c" / "card.json").write_text("{}")
    for _ in range(2):  # it may have been half written, so it is tried again
        with pytest.raises(ArtefactError):
            classifier.refresh()
    assert classifier.classify(prompt_of("Translate to French: hello")).task == "translation"


def test_a_folder_that_goes_away_is_reported(tmp_path: Path) -> None:
    """A mount that vanished is an error of the refresh, not of a request."""
    save(load().weights, {}, tmp_path / "c")
    classifier = Reloading(tmp_path / "c")
    (tmp_path / "c" / "card.json").unlink()
    with pytest.raises(ArtefactError, match="cannot be read"):
        classifier.refresh()


def test_examples_survive_a_round_trip(tmp_path: Path, file: Path) -> None:
    """Written examples are read as they were."""
    examples = read_examples(file)
    assert write_examples(tmp_path / "again.jsonl", examples) == len(LINES)
    assert read_examples(tmp_path / "again.jsonl") == examples


@pytest.mark.parametrize(
    ("name", "source", "dealt"),
    [
        ("mine.jsonl", {}, "mine.jsonl"),
        ("mine.jsonl", {"source": "desk"}, "desk"),
        ("my tickets.jsonl", {}, "my_tickets.jsonl"),
        ("mine.jsonl", {"source": "the front desk"}, "the_front_desk"),
    ],
)
def test_a_file_of_one_source_is_dealt_into_parts(
    tmp_path: Path, name: str, source: dict[str, str], dealt: str
) -> None:
    """Else leaving its source out would leave its tasks unknown; a blank in a name is no reason to."""
    path = tmp_path / name
    lines = [{"task": "sailing", "prompt": f"hoist sail {at}", **source} for at in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {example.source for example in read_examples(path)}
    assert found == {f"{dealt}/{part}" for part in range(8)}
    assert {source_family(source) for source in found} == found


def test_a_file_with_a_blank_in_its_name_is_enough_to_train_on(tmp_path: Path) -> None:
    """Its parts are left out one group at a time, as those of any other file."""
    path = tmp_path / "my tickets.jsonl"
    path.write_text("".join(json.dumps({"task": one["task"], "prompt": one["prompt"]}) + "\n" for one in LINES))
    trained = run(app, ["train", str(path), "--no-own", "--out", str(tmp_path / "m")])
    assert trained.exit_code == 0, trained.output


def test_one_family_alone_is_refused_in_words(tmp_path: Path) -> None:
    """Nothing is left to train on where the only family is left out, and the message says what a family is."""
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({**one, "source": f"desk {at}"}) + "\n" for at, one in enumerate(LINES)))
    failed = run(app, ["train", str(path), "--no-own", "--out", str(tmp_path / "m")])
    assert failed.exit_code == 1
    assert "all examples are of 'desk': name several" in failed.stderr


BAD_LINES = (
    "{",
    "[]",
    '{"task": "x"}',
    '{"task": "", "prompt": "p"}',
    '{"task": "a b", "prompt": "p"}',
)


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    """The operator sees which line to mend."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"task": "x", "prompt": "fine"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl:2"):
        read_examples(path)


def test_train_writes_a_classifier_that_evaluate_and_explain_read(tmp_path: Path, file: Path) -> None:
    """The three commands work together on an operator's own tasks."""
    out = tmp_path / "mine"
    trained = run(app, ["train", str(file), "--no-own", "--folds", "2", "--out", str(out), "--note", "mine"])
    assert trained.exit_code == 0, trained.output
    assert load(out).card["note"] == "mine"
    assert trained.stderr.splitlines() == ["training 0/2", "training 1/2", "training 2/2"]
    scored = run(app, ["evaluate", str(file), "--model", str(out), "--json"])
    found = json.loads(scored.stdout)
    assert found["macro_f1_tasks"] == 1.0
    assert found["p50_ms"] > 0
    assert {"macro_f1_with_other", "ece", "recall_tools", "p99_ms", "per_task", "per_source"} <= found.keys()
    assert set(found["latency"]) == {"1 KB", "64 KB"}
    explained = run(app, ["explain", "hoist the sail", "--model", str(out), "--json"])
    assert json.loads(explained.stdout)["label"]["task"] == "sailing"


def test_training_tells_a_program_the_hash_to_activate(tmp_path: Path, file: Path) -> None:
    """One object on stdout, with the scores and what `classifier activate` takes."""
    out = tmp_path / "m"
    trained = run(app, ["train", str(file), "--no-own", "--folds", "2", "--out", str(out), "--json"])
    found = json.loads(trained.stdout)
    assert found["sha256"] == load(out).sha256
    assert {"macro_f1_tasks", "per_source"} <= found.keys()


def test_a_terminal_shows_training_before_the_first_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is there from the start, with the time that has passed."""
    out = StringIO()
    monkeypatch.setattr("classifiers.commands.Console", lambda stderr: Console(file=out, force_terminal=True))
    with _training():
        pass
    assert "training" in out.getvalue()
    assert "0/?" in out.getvalue()


def test_evaluate_warns_of_sources_that_were_trained_on(tmp_path: Path, file: Path) -> None:
    """A flattering score says that it is one."""
    run(app, ["train", str(file), "--no-own", "--folds", "2", "--out", str(tmp_path / "m")])
    scored = run(app, ["evaluate", str(file), "--model", str(tmp_path / "m")])
    assert "--leave-source-out" in scored.stderr
    assert "brewing" in scored.stdout


def test_labels_of_unseen_sources_are_written_without_text(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line holds the true task and what a model that never saw the source held likely."""
    monkeypatch.setattr("classifiers.commands.corpus", list)  # without the thousands that take minutes
    scored = run(app, ["evaluate", str(file), "--leave-source-out", "--folds", "2", "--labels", str(tmp_path / "l")])
    lines = [json.loads(line) for line in (tmp_path / "l").read_text().splitlines()]
    assert scored.exit_code == 0
    assert {line["task"] for line in lines} == {"brewing", "sailing"}
    assert all(0 < line["likely"][0][1] <= 1 for line in lines)
    assert all(set(line) == {"task", "likely"} for line in lines)


@pytest.mark.parametrize("command", [["evaluate", "--json"], ["train", "--out", "out"]])
def test_a_file_that_is_not_there_is_a_wrong_call(file: Path, command: list[str]) -> None:
    """A misspelt name must not look like a score, nor be left out beside files that are there."""
    typo = file.with_name("typo.jsonl")
    failed = run(app, [*command, str(file), str(typo)])
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert failed.stderr == f"error: {str(typo)!r} is not there\n"


def test_files_without_examples_are_a_wrong_call(tmp_path: Path) -> None:
    """An empty folder is named, not scored."""
    failed = run(app, ["evaluate", str(tmp_path), "--json"])
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert failed.stderr == f"error: no examples in {str(tmp_path)!r}\n"


def test_explain_reads_request_bodies_from_stdin() -> None:
    """A recorded body can be piped in."""
    body = json.dumps({"messages": [{"role": "user", "content": "Solve 3x = 9"}]})
    explained = run(app, ["explain", "-"], input=body)
    assert explained.stdout.startswith("mathematics")


def test_a_mistake_is_one_line_and_exit_code_one(tmp_path: Path) -> None:
    """No traceback reaches the operator."""
    failed = run(app, ["explain", "x", "--model", str(tmp_path)])
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: ")
    assert "Traceback" not in failed.output


def test_training_on_nothing_says_what_is_missing(tmp_path: Path) -> None:
    """No file and not the project's own prompts either."""
    failed = run(app, ["train", "--no-own", "--out", str(tmp_path / "m")])
    assert failed.exit_code == 1
    assert "name files" in failed.stderr


def test_a_wrong_field_is_named_with_its_value(tmp_path: Path) -> None:
    """The line, the field, what is allowed and what stood there."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"task": "My task", "prompt": "p"}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl:1 .* task: .*pattern.* got 'My task'$"):
        read_examples(path)


def test_the_corpus_can_be_written_out(tmp_path: Path) -> None:
    """The project's own data is there to be read."""
    out = tmp_path / "corpus.jsonl"
    written = run(app, ["corpus", str(out), "--json"])
    assert written.exit_code == 0
    assert json.loads(written.stdout) == {"out": str(out), "prompts": len(read_examples(out))}
    assert len(read_examples(out)) > 5_000


def test_weights_round_trip_through_the_file_without_changing_labels(tmp_path: Path) -> None:
    """Eight bits a weight are enough."""
    weights = load().weights
    save(weights, {}, tmp_path)
    again = Model(load(tmp_path).weights)
    prompt = prompt_of("Why do whales sing?")
    assert np.allclose(again.probabilities(prompt), Model(weights).probabilities(prompt), atol=0.02)
    assert SHIPPED.is_dir()


def test_a_plot_that_cannot_be_drawn_costs_no_score(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """matplotlib is no part of the installation: the table is printed first, and then what is missing."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    failed = run(app, ["evaluate", str(file), "--plot", str(tmp_path / "c.png")])
    assert failed.exit_code == 1
    assert "macro-F1" in failed.stdout
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    assert "matplotlib" in failed.stderr
