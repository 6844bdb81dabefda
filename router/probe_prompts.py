"""Prompts to probe engines with, by task: the demo's, the project's own, or an operator's file."""

from pathlib import Path

from classifiers.corpus import corpus
from classifiers.examples import read_examples
from engines.demo.workload import load_workload
from router.errors import SetupError

AUTO, DEMO, OWN = "auto", "demo", "own"
OWN_PER_TASK = 24


def probe_prompts(which: str, model: str) -> dict[str, list[str]]:
    """Prompts by task; "auto" takes the demo's for the model named demo, else the project's own.

    Raises SetupError where a file holds none.
    """
    if which == AUTO:
        which = DEMO if model == DEMO else OWN
    found: dict[str, list[str]] = {}
    if which == DEMO:
        for request in load_workload():
            found.setdefault(request.task, []).append(request.prompt)
        return found
    try:
        examples = corpus(per_task=OWN_PER_TASK) if which == OWN else read_examples(Path(which))
    except (OSError, ValueError) as error:
        raise SetupError(f"prompts {which!r}: {error}") from None
    for example in examples:
        found.setdefault(example.task, []).append(example.prompt.text)
    if not found:
        raise SetupError(f"prompts {which!r}: no prompts in it")
    return found
