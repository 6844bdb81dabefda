"""Which requests are sent, in which order."""

import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engines.demo.workload import ExampleRequest


class Workload(StrEnum):
    """What changes while the requests are sent: nothing, the tasks, or the drafter."""

    MIX = "mix"
    SHIFT = "shift"
    COLLAPSE = "collapse"


@dataclass(frozen=True, slots=True)
class Shot:
    """One request of the plan; every arm sends it once, with the same seed."""

    round: int
    task: str
    prompt: str
    max_tokens: int
    temperature: float
    seed: int
    worn: bool = False
    """Whether the drafter is the worn one meanwhile."""


def plan(
    examples: Sequence[ExampleRequest],
    rounds: int,
    temperatures: Sequence[float],
    seed: int,
    workload: Workload = Workload.MIX,
) -> Iterator[Shot]:
    """`rounds` times one prompt of each task at each temperature, in random order within a round.

    A shift has every other task in the first half of the rounds and the rest in the second; a collapse has the worn
    drafter in the second third.
    """
    draws = random.Random(seed)
    by_task: dict[str, list[ExampleRequest]] = defaultdict(list)
    for example in examples:
        by_task[example.task].append(example)
    for number in range(rounds):
        tasks = sorted(by_task)
        if workload is Workload.SHIFT:
            tasks = tasks[0 if number < rounds // 2 else 1 :: 2]
        worn = workload is Workload.COLLAPSE and 3 * number // rounds == 1
        kinds = [(task, temperature) for task in tasks for temperature in temperatures]
        draws.shuffle(kinds)
        for task, temperature in kinds:
            example = by_task[task][draws.randrange(len(by_task[task]))]
            yield Shot(number, task, example.prompt, example.max_tokens, temperature, draws.randrange(2**31), worn)


def without(examples: Sequence[ExampleRequest], sent: Collection[str]) -> list[ExampleRequest]:
    """The examples whose prompts were not sent; of a task whose prompts all were, all of them."""
    rest = [example for example in examples if example.prompt not in sent]
    kept = {example.task for example in rest}
    return rest + [example for example in examples if example.task not in kept]
