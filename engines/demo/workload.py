"""The example workload: prompts of the demo language, shipped as lines of JSON, for load generators and examples."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files

from engines.demo.language.corpus import AUTHORS, write_corpus
from engines.demo.language.document import Voice

_SHIPPED = "workload.jsonl"
_SEED = 1_000_003
"""Far from every seed the models are trained with."""
PER_TASK = 28
"""Requests of each task in the shipped file."""
_MAX_TOKENS = 160
"""Above the longest answer: an answer ends by itself."""


@dataclass(frozen=True, slots=True)
class ExampleRequest:
    """One request of the workload; `prompt` is a user message or, as it is, a completion prompt."""

    task: str
    prompt: str
    max_tokens: int


def load_workload() -> tuple[ExampleRequest, ...]:
    """The shipped requests, in the order in which to send them."""
    lines = files("engines.demo").joinpath(_SHIPPED).read_text().splitlines()
    return tuple(ExampleRequest(**json.loads(line)) for line in lines)


def write_workload(per_task: int) -> Iterator[ExampleRequest]:
    """`per_task` requests of each of the ten-task tasks, mixed; how the shipped file was made."""
    left = {task: per_task for task in AUTHORS if task != "other"}
    for written in write_corpus(Voice.TARGET, _SEED):
        if left.get(written.task):
            left[written.task] -= 1
            yield ExampleRequest(written.task, written.document.prompt, _MAX_TOKENS)
        if not any(left.values()):
            return


def as_lines(requests: Iterator[ExampleRequest]) -> str:
    """The requests as lines of JSON."""
    return "".join(json.dumps(asdict(request)) + "\n" for request in requests)


if __name__ == "__main__":
    print(as_lines(write_workload(PER_TASK)), end="")
