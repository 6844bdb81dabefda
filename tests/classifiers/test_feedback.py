"""Explicit labels kept as training feedback: what is kept, where, and how much of it."""

import os
from pathlib import Path
from threading import Thread

import pytest

from classifiers.examples import read_examples, write_examples
from classifiers.feedback import MAX_WAITING, Feedback, opted_out
from classifiers.label import Label, Source
from classifiers.prompt import prompt_of, read_prompt
from classifiers.structure import structure
from classifiers.words import blocks

SAILING = Label("sailing", 1.0, "header")


def test_feedback_is_training_data(tmp_path: Path) -> None:
    """What clients labelled is read back as examples."""
    path = tmp_path / "kept" / "feedback.jsonl"
    feedback = Feedback(path)
    prompt = prompt_of("ship \ud800 ahoy", system="sail", history="hello", has_tools=True)
    assert feedback.keep(prompt, SAILING)
    assert feedback.keep(prompt_of("more foam"), Label("brewing", 1.0, "metadata"))
    assert path.read_text() == ""
    assert feedback.flush() == 2
    assert feedback.flush() == 0
    kept = read_examples(path)
    assert [example.task for example in kept] == ["sailing", "brewing"]
    assert kept[0].prompt == prompt


def test_what_was_kept_has_the_features_it_was_served_with(tmp_path: Path) -> None:
    """A long prompt with an image, long instructions and a format: sampled, and still known for as long as it was."""
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    content = [picture, {"type": "text", "text": "Summarize: " + "x" * 25_005}]
    turns = [("system", "sail " * 1_000 + "END"), ("user", "ahoy " * 500), ("assistant", "aye"), ("user", content)]
    messages = [{"role": role, "content": said} for role, said in turns]
    prompt = read_prompt({"messages": messages, "response_format": {"type": "json_object"}})
    feedback = Feedback(tmp_path / "kept.jsonl")
    feedback.keep(prompt, SAILING)
    feedback.flush()
    (kept,) = read_examples(tmp_path / "kept.jsonl")
    assert (kept.prompt.chars, kept.prompt.images, kept.prompt.response_format) == (25_016, 1, "json")
    assert structure(kept.prompt) == structure(prompt)
    assert blocks(kept.prompt) == blocks(prompt)
    write_examples(tmp_path / "again.jsonl", [kept])
    assert read_examples(tmp_path / "again.jsonl")[0].prompt == kept.prompt


def test_lines_that_tell_no_length_are_as_long_as_their_prompt(tmp_path: Path) -> None:
    """Those of an operator, and those kept by earlier versions."""
    path = tmp_path / "kept.jsonl"
    path.write_text('{"task": "sailing", "prompt": "ahoy", "system": "", "history": ""}\n')
    assert read_examples(path)[0].prompt == prompt_of("ahoy")


@pytest.mark.parametrize("source", ["model", "tools", "fallback"])
def test_the_models_own_guesses_are_not_kept(tmp_path: Path, source: Source) -> None:
    """A classifier that learns what it said would only grow surer."""
    assert not Feedback(tmp_path / "kept.jsonl").keep(prompt_of("hoist the sail"), Label("sailing", 0.9, source))


def test_a_prompt_without_text_is_not_kept(tmp_path: Path) -> None:
    """There is nothing to learn from it."""
    assert not Feedback(tmp_path / "kept.jsonl").keep(prompt_of(" \n"), SAILING)


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """Where nobody flushes, memory does not grow."""
    feedback = Feedback(tmp_path / "kept.jsonl")
    kept = [feedback.keep(prompt_of("ahoy"), SAILING) for _ in range(MAX_WAITING + 5)]
    assert kept == [True] * MAX_WAITING + [False] * 5
    assert feedback.flush() == MAX_WAITING
    assert feedback.keep(prompt_of("ahoy"), SAILING)


def test_a_full_file_is_rotated_and_both_are_private(tmp_path: Path) -> None:
    """Two files of the limit at most, for their owner alone, the newest line in the first; a restart is no loss."""
    path, old = tmp_path / "kept.jsonl", tmp_path / "kept.jsonl.1"
    for at in range(60):
        feedback = Feedback(path, max_bytes=2_000)
        feedback.keep(prompt_of(f"{at} " + "x" * 200), SAILING)
        feedback.flush()
    for file in (path, old):
        assert 0 < file.stat().st_size <= 2_000
        assert os.stat(file).st_mode & 0o077 == 0
    assert sorted(tmp_path.iterdir()) == [path, old]
    assert [example.prompt.text.split()[0] for example in read_examples(path)][-1] == "59"
    assert read_examples(old)


def test_one_flush_larger_than_a_file_keeps_whole_lines(tmp_path: Path) -> None:
    """What does not fit is left out; what is kept can be read."""
    feedback = Feedback(tmp_path / "kept.jsonl", max_bytes=2_000)
    for _ in range(100):
        feedback.keep(prompt_of("x" * 200), SAILING)
    feedback.flush()
    assert 1 <= len(read_examples(tmp_path / "kept.jsonl")) < 10


def test_several_writers_share_a_file(tmp_path: Path) -> None:
    """Router replicas that write at once lose no line, and no line is torn."""
    path = tmp_path / "kept.jsonl"

    def write(task: str) -> None:
        feedback = Feedback(path, max_bytes=1_000_000)
        for at in range(40):
            feedback.keep(prompt_of(f"{task} {at} " + "x" * 300), Label(task, 1.0, "header"))
            feedback.flush()

    writers = [Thread(target=write, args=(task,)) for task in ("sailing", "brewing", "baking")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_examples(path)) == 120


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """It shows at start, not with the first prompt."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Feedback(tmp_path / "file" / "kept.jsonl")


@pytest.mark.parametrize(("value", "out"), [(None, False), ("on", False), (" ON ", False), ("off", True), ("no", True)])
def test_clients_may_opt_out(value: str | None, out: bool) -> None:
    """Whatever is not a plain yes keeps the prompt out."""
    assert opted_out({} if value is None else {"x-alpharoute-feedback": value}) == out
