"""Reading the prompt out of the bodies that clients send."""

from collections.abc import Iterator
from typing import Any

import pytest

from classifiers.prompt import CONTEXT_CHARS, HEAD_CHARS, TAIL_CHARS, prompt_of, read_prompt, sample

ASKED = "Translate this to French: good evening"

BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED}]},
    "chat parts": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": ASKED}]},
        ]
    },
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": ASKED}]},
    "messages": {"system": "Be brief.", "messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]},
    "messages parts": {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": ASKED}],
    },
    "responses": {"instructions": "Be brief.", "input": ASKED},
    "responses items": {
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": ASKED}]}],
    },
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_every_api_yields_the_same_prompt(body: dict[str, Any]) -> None:
    """Chat, messages and responses differ in form only."""
    prompt = read_prompt(body)
    assert (prompt.text, prompt.system, prompt.chars) == (ASKED, "Be brief.", len(ASKED))


def test_completions_take_text_and_lists_of_text() -> None:
    """A completion's prompt may be one text or several; token ids hold no text."""
    assert read_prompt({"prompt": ASKED}).text == ASKED
    assert read_prompt({"prompt": ["a", "b"]}).text == "a\nb"
    assert read_prompt({"prompt": [[1, 2], [3]]}).text == ""


def test_the_last_user_turn_is_the_text_and_earlier_turns_are_history() -> None:
    """What was said before is context, and what the assistant says last is not the task."""
    turns = [("user", "hello"), ("assistant", "hi"), ("user", ASKED), ("assistant", "Bons"), ("tool", "{}")]
    prompt = read_prompt({"messages": [{"role": role, "content": content} for role, content in turns]})
    assert (prompt.text, prompt.history, prompt.turns) == (ASKED, "hello\nhi", 2)


def test_a_tool_result_sent_as_a_user_turn_is_not_the_task() -> None:
    """Anthropic's clients answer a tool call in the user's role."""
    result = {"role": "user", "content": [{"type": "tool_result", "content": "21 degrees"}]}
    assert read_prompt({"messages": [{"role": "user", "content": ASKED}, result]}).text == ASKED


def test_a_long_answer_does_not_hide_what_was_asked_before_it() -> None:
    """Earlier turns are cut each by itself, head and tail, and the latest are kept."""
    turns = ["Write a poem about rain"] * 9 + ["Summarize this:\n" + "x" * 5_000 + " END", "word " * 2_000]
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(turns)]
    prompt = read_prompt({"messages": [*messages, {"role": "user", "content": "shorter"}]})
    assert prompt.text == "shorter"
    assert "Summarize this:" in prompt.history
    assert " END" in prompt.history
    assert len(prompt.history) <= 1_200


def test_items_of_a_responses_request_that_are_no_question() -> None:
    """Calls, their results and reasoning follow the question; the task is still that of the question."""
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": ASKED}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "name": "look_up", "arguments": "{}", "call_id": "1"},
        {"type": "function_call_output", "call_id": "1", "output": "bonsoir"},
    ]
    assert read_prompt({"input": items}).text == ASKED
    assert read_prompt({"input": ASKED, "prompt": {"id": "pmpt_1"}}).text == ASKED


def test_an_empty_last_turn_is_not_the_task() -> None:
    """The last turn that says something is; where none does, there is no text."""
    assert (
        read_prompt({"messages": [{"role": "user", "content": ASKED}, {"role": "user", "content": ""}]}).text == ASKED
    )
    assert read_prompt({"messages": [{"role": "user", "content": ""}]}).text == ""


def test_images_are_counted_and_their_text_is_kept() -> None:
    """Parts that hold no text do not hide the text beside them."""
    parts = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "what is this?"}]
    prompt = read_prompt({"messages": [{"role": "user", "content": parts}]})
    assert (prompt.text, prompt.images) == ("what is this?", 1)


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        ({"tools": [{"type": "function"}]}, True),
        ({"functions": [{"name": "f"}]}, True),
        ({"tools": []}, False),
        ({"tools": [{}], "tool_choice": "none"}, False),
        ({"tools": [{}], "tool_choice": {"type": "none"}}, False),
        ({"tools": [{}], "tool_choice": "auto"}, True),
    ],
)
def test_tools_count_only_where_they_may_be_called(fields: dict[str, Any], offered: bool) -> None:
    """An empty list and `tool_choice: none` offer nothing."""
    assert read_prompt({"prompt": "x", **fields}).has_tools is offered


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "json"),
        ({"response_format": {"type": "text"}}, "text"),
        ({"text": {"format": {"type": "json_object"}}}, "json"),
        ({"guided_regex": "a+"}, "grammar"),
        ({"structured_outputs": {"choice": ["a"]}}, "grammar"),
        ({}, "text"),
    ],
)
def test_the_format_of_the_answer_is_read(fields: dict[str, Any], wanted: str) -> None:
    """JSON and grammars are told from free text in every API's spelling."""
    assert read_prompt({"prompt": "x", **fields}).response_format == wanted


def test_long_text_keeps_its_head_and_its_tail() -> None:
    """An instruction before or after a long document survives the sampling, whose size is bounded."""
    text = f"Summarize this.{'x' * 200_000}Translate the above."
    sampled = sample(text)
    assert sampled.startswith("Summarize this.")
    assert sampled.endswith("Translate the above.")
    assert len(sampled) == HEAD_CHARS + TAIL_CHARS + 1
    assert read_prompt({"prompt": text}).chars == len(text)


def test_instructions_are_cut_alike_in_training_and_in_service() -> None:
    """Both keep the head, and of several system turns the first."""
    system = "You translate. " + "x" * 5_000
    said = [{"role": "system", "content": system}, {"role": "developer", "content": "END"}]
    served = read_prompt({"messages": [*said, {"role": "user", "content": ASKED}]})
    assert served.system.startswith("You translate. ")
    assert served == prompt_of(ASKED, system=f"{system}\nEND")
    assert len(served.system) == CONTEXT_CHARS


class Endless(list[object]):
    """Parts of which only the first may be looked at."""

    def __iter__(self) -> Iterator[object]:
        raise AssertionError("all parts were looked at")


def test_of_an_endless_conversation_its_ends_are_read() -> None:
    """Instructions stand first, what is asked last; a million tiny parts are not looked at one by one."""
    turn = {"role": "user", "content": "hello"}
    system = {"role": "system", "content": "Be brief."}
    prompt = read_prompt({"messages": [system, *[turn] * 100_000, {"role": "user", "content": ASKED}]})
    assert (prompt.text, prompt.system) == (ASKED, "Be brief.")
    assert 0 < prompt.turns < 1000
    assert read_prompt({"messages": [turn, {"role": "user", "content": Endless([7] * 10)}]}).text == "hello"
