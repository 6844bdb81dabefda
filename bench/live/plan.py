"""Which requests are sent, in which order."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engines.demo.workload import ExampleRequest


@dataclass(frozen=True, slots=True)
class Shot:
    """One request of the plan; every arm sends it once, with the same seed."""

    round: int
    task: str
    prompt: str
    max_tokens: int
    temperature: float
    seed: int


def plan(examples: Sequence[ExampleRequest], rounds: int, temperatures: Sequence[float], seed: int) -> Iterator[Shot]:
    """`rounds` times one prompt of each task at each temperature, in random order within a round."""
    draws = random.Random(seed)
    by_task: dict[str, list[ExampleRequest]] = defaultdict(list)
    for example in examples:
        by_task[example.task].append(example)
    kinds = [(task, temperature) for task in sorted(by_task) for temperature in temperatures]
    for number in range(rounds):
        draws.shuffle(kinds)
        for task, temperature in kinds:
            example = by_task[task][draws.randrange(len(by_task[task]))]
            yield Shot(number, task, example.prompt, example.max_tokens, temperature, draws.randrange(2**31))
