"""What the shipped classifier must get right: plain cases in several languages, tools, the threshold, the demo."""

import json
from pathlib import Path

import pytest

from classifiers.artefact import load
from classifiers.corpus import tool_requests
from classifiers.examples import read_examples
from classifiers.model import Model
from classifiers.prompt import prompt_of, read_prompt
from classifiers.scoring import score

PLAIN = [
    ("code_generation", "Write a TypeScript function that deep-merges two objects."),
    ("code_generation", "def median(values: list[float]) -> float:\n    '''Return the median.'''\n"),
    ("creative_writing", "Write a ghost story set in a submarine."),
    ("creative_writing", "Schreibe ein kurzes Gedicht über den Winter."),
    ("summarization", "Summarize the following article in two sentences:\n\n" + "The harbour was closed by ice. " * 40),
    ("question_answering", "Why do whales sing?"),
    ("question_answering", "¿Cuál es la capital de Mongolia?"),
    ("translation", "Translate into Danish: the shop opens at nine."),
    ("translation", "请把这句话翻译成英文：明天我们去爬山。"),
    ("mathematics", "Solve for x: 5x - 3 = 2x + 12"),
    ("mathematics", "Tom has 14 plums, eats 3 and buys twice as many as are left. How many plums does he have?"),
    ("sql_generation", "CREATE TABLE ships (id INT, name TEXT, built INT);\n\nHow many ships were built after 1990?"),
    ("sql_generation", "Write a PostgreSQL query that returns the ten latest orders of each customer."),
    ("legal_analysis", "Is this non-compete clause enforceable under California law? The employee shall not compete."),
    ("customer_support", "my parcel never arrived and I want my money back"),
    ("customer_support", "i forgot my password and the reset mail does not come"),
    ("api_call_generation", 'You can call: [{"name": "tides", "parameters": {"type": "object"}}]\nWhen is high tide?'),
    ("other", "hello"),
    ("other", "Recommend three board games for a rainy weekend."),
    ("other", "Classify the sentiment of this review as positive or negative: it broke after a day."),
]


FOLLOWED = [
    ("code_generation", "Write a Go function that parses dates.\nHere is the function: func parse", "and in Swift?"),
    ("creative_writing", "Write a poem about the first snow.\nSoftly it falls on the roofs", "make it sadder"),
    ("summarization", "Summarize this report: Revenue rose by 8 %.\nRevenue rose.", "shorter please"),
    ("translation", "Translate 'see you soon' into Greek.\nΤα λέμε σύντομα", "and into Finnish?"),
    (
        "sql_generation",
        "Count the users per country.\nSELECT country, COUNT(*) FROM users GROUP BY 1;",
        "sorted by name please",
    ),
    ("mathematics", "Solve 3x + 4 = 19\nx = 5", "how did you get that?"),
    ("customer_support", "My parcel did not arrive.\nSorry! What is your order number?", "I don't have it here"),
    ("other", "Write a SQL query for all users.\nSELECT * FROM users;", "thank you!"),
]


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped classifier."""
    return Model(load().weights)


@pytest.mark.parametrize(("task", "text"), PLAIN, ids=[f"{task}-{at}" for at, (task, _) in enumerate(PLAIN)])
def test_plain_prompts_are_labelled_right(model: Model, task: str, text: str) -> None:
    """Cases that no user would forgive."""
    assert model.classify(prompt_of(text)).task == task


@pytest.mark.parametrize(("task", "history", "text"), FOLLOWED, ids=[task for task, _, _ in FOLLOWED])
def test_a_short_turn_continues_the_task_before_it(model: Model, task: str, history: str, text: str) -> None:
    """What is too short to say its task inherits that of the conversation."""
    assert model.classify(prompt_of(text, history=history)).task == task


def test_the_instruction_counts_although_the_document_is_long(model: Model) -> None:
    """Sixty kilobytes about law between instruction and end stay a translation."""
    document = "The court held that the defendant was liable for breach of contract. " * 900
    assert model.classify(prompt_of(f"Translate the following text into French:\n\n{document}")).task == "translation"
    assert model.classify(prompt_of(f"{document}\n\nTranslate the text above into French.")).task == "translation"


def test_requests_with_tools_are_api_calls(model: Model) -> None:
    """At least 95 of 100 requests that offer tools are labelled so, and say that the tools decided."""
    labels = [model.classify(example.prompt) for example in tool_requests(seed=5, wanted=200)]
    assert sum(label.task == "api_call_generation" for label in labels) >= 190
    assert {label.source for label in labels if label.task == "api_call_generation"} == {"tools"}


def test_tools_that_may_not_be_called_do_not_count(model: Model) -> None:
    """`tool_choice: none` leaves the text to decide."""
    body = {"messages": [{"role": "user", "content": "Why do whales sing?"}], "tools": [{}], "tool_choice": "none"}
    assert model.classify(read_prompt(body)).task == "question_answering"


def test_below_the_threshold_the_task_is_other() -> None:
    """An operator who wants certainty gets `other` for guesses, with the guess's confidence."""
    sure = Model(load().weights, min_confidence=1.0)
    label = sure.classify(prompt_of("Why do whales sing?"))
    assert (label.task, label.source) == ("other", "fallback")
    assert 0 < label.confidence < 1
    assert label.likely == ()


def test_tasks_that_come_into_question_are_told(model: Model) -> None:
    """One where there is no doubt, the next ones too where there is, for who decides over more than one."""
    sure = model.classify(prompt_of("Solve for x: 5x - 3 = 2x + 12"))
    doubtful = model.classify(prompt_of("Write something about contracts and refunds"))
    assert [task for task, _ in sure.likely] == ["mathematics"]
    assert 1 < len(doubtful.likely) <= 3
    assert all(share >= 0.02 for _, share in doubtful.likely)


@pytest.mark.parametrize("least", [-0.1, 1.1])
def test_a_threshold_that_is_no_probability_is_refused(least: float) -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match="0 to 1"):
        Model(load().weights, min_confidence=least)


@pytest.mark.parametrize(("name", "least"), [("untouched", 0.86), ("third", 0.87), ("fourth", 0.74), ("fifth", 0.88)])
def test_prompts_that_were_never_trained_on(model: Model, name: str, least: float) -> None:
    """Written for this alone, in many languages; the fourth set is meant to be hard."""
    examples = read_examples(Path(__file__).parent / f"prompts_{name}.jsonl")
    found = score(examples, [model.classify(example.prompt) for example in examples])
    assert found.macro_f1_tasks >= least
    assert found.macro_f1_with_other >= least


def test_the_demo_workload_is_labelled_right(model: Model) -> None:
    """The prompts of the demo pair, none of which was trained on, are at least 98 % right."""
    path = Path(__file__).parents[2] / "engines" / "demo" / "workload.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    right = [model.classify(prompt_of(line["prompt"])).task == line["task"] for line in lines]
    assert sum(right) >= 0.98 * len(right) > 0
