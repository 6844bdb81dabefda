"""The contract of every classifier: a task it knows and a confidence, for any request."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.artefact import load
from classifiers.explicit import explicit_label
from classifiers.label import Classifier, Uninformed
from classifiers.model import Model
from classifiers.prompt import Prompt, read_prompt
from policies.task import OTHER

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "input",
                    "prompt",
                    "content",
                    "role",
                    "text",
                    "type",
                    "tools",
                    "system",
                    "user",
                    "metadata",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)

TEXT = st.text(st.characters(codec=None)) | st.sampled_from(
    ["", " ", "\x00", "\ud800", "👍🏽", "\u202eשלום", "```", "\n" * 99]
)
PART: st.SearchStrategy[object] = st.deferred(
    lambda: (
        TEXT
        | st.none()
        | st.integers()
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "input_text", "image_url", "tool_result", "input_audio", "?"]) | JSON},
            optional={"text": TEXT | JSON, "image_url": JSON, "content": JSON},
        )
        | st.lists(PART, max_size=3)
    )
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "developer", "assistant", "tool"]) | JSON, "content": PART},
    optional={"type": JSON, "name": JSON},
)
CHAT = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(TURN | JSON, max_size=5),
        "input": st.lists(TURN | JSON, max_size=3) | TEXT,
        "prompt": PART,
        "system": PART,
        "instructions": PART,
        "tools": st.lists(JSON, max_size=2) | JSON,
        "functions": JSON,
        "tool_choice": JSON,
        "response_format": JSON,
        "text": JSON,
        "metadata": JSON,
    },
)
"""Bodies that come close to right: turns of known roles whose content is anything, images and nested parts among it."""

STRANGE = {
    "empty": "",
    "blank": " \n\t ",
    "megabyte": "why is the sky blue " * 50_000,
    "one word of a megabyte": "x" * 1_000_000,
    "binary": "\x00\x01\x02\xff" * 99,
    "lone surrogate": "\ud800 hello",
    "emoji": "👍🏽" * 300,
    "right to left": "\u202eمرحبا بالعالم שלום עולם",
    "combining marks": "e\u0301" * 500,
    "one mark": "?",
}


@pytest.fixture(scope="module", params=["model", "uninformed"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """Each implementation in turn."""
    return Model(load().weights) if request.param == "model" else Uninformed(("mathematics",))


@settings(max_examples=200, deadline=None)
@given(body=JSON)
def test_any_body_has_a_known_task_and_a_confidence(classifier: Classifier, body: object) -> None:
    """Whatever JSON arrives, the answer is one of the classifier's tasks with a confidence of 0 to 1."""
    label = classifier.classify(read_prompt(body))
    assert label.task in classifier.tasks
    assert 0 <= label.confidence <= 1


@settings(max_examples=150, deadline=None)
@given(body=CHAT)
def test_a_chat_of_anything_has_a_known_task(classifier: Classifier, body: dict[str, object]) -> None:
    """Turns that hold images, nulls, nested parts or half characters are classified, and what they name is read."""
    label = explicit_label({}, body) or classifier.classify(read_prompt(body))
    assert label.task in classifier.tasks or label.source == "metadata"
    assert 0 <= label.confidence <= 1


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_strange_text_has_a_task(classifier: Classifier, text: str) -> None:
    """Empty, huge, binary and unwritable texts are classified like any other."""
    for body in ({"messages": [{"role": "user", "content": text}]}, {"prompt": text}, {"input": text}):
        label = classifier.classify(read_prompt(body))
        assert label.task in classifier.tasks
        assert 0 <= label.confidence <= 1


@pytest.mark.parametrize("text", ["Why do whales sing?", "", "Translate to Danish: hello", "x" * 9_000])
def test_the_likely_tasks_begin_with_the_label(classifier: Classifier, text: str) -> None:
    """They are known tasks, the best first, with probabilities that sum to one at most; or there are none."""
    label = classifier.classify(read_prompt({"prompt": text}))
    shares = [share for _, share in label.likely]
    assert {task for task, _ in label.likely} <= set(classifier.tasks)
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.0 + 1e-9
    assert not label.likely or label.likely[0] == (label.task, label.confidence)


def test_other_is_always_known(classifier: Classifier) -> None:
    """Every classifier can answer `other`, and says so."""
    assert OTHER in classifier.tasks


def test_an_empty_prompt_is_other_with_no_confidence(classifier: Classifier) -> None:
    """Nothing asked is nothing known."""
    label = classifier.classify(Prompt())
    assert (label.task, label.confidence, label.source) == (OTHER, 0.0, "fallback")


def test_the_same_prompt_has_the_same_label(classifier: Classifier) -> None:
    """Classification has no memory."""
    prompt = read_prompt(json.loads('{"prompt": "Solve 2x + 3 = 7"}'))
    assert classifier.classify(prompt) == classifier.classify(prompt)
