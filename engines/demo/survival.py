"""How far the draft's guesses survive at the target, by task and temperature, without an engine.

Given an output x that the target wrote, draft i is accepted with probability min(1, q(x_i)/p(x_i)) if drafts are
sampled from q (`probabilistic`), and exactly when x_i is the draft's likeliest token if they are not (`greedy`, the
default of vLLM). These events are independent given x, so a step's survival is their product, and the chance that a
verify step starts at a position follows from the steps before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Literal

import torch

from engines.demo.reading import LoadedPair, continue_text, probabilities, prompt_tokens
from engines.demo.workload import ExampleRequest

Drafting = Literal["greedy", "probabilistic"]
K = 4


@dataclass(frozen=True, slots=True)
class Survival:
    """S(1..4) of one task at one temperature, over verify steps of k = 4 as an engine takes them."""

    task: str
    temperature: float
    drafting: Drafting
    curve: tuple[float, ...]
    output_tokens: float
    """Mean length of the outputs."""


def measure_survival(
    pair: LoadedPair, requests: Sequence[ExampleRequest], temperature: float, seed: int = 0
) -> tuple[Survival, ...]:
    """S(1..4) of every task among `requests` under each way of drafting; at temperature 0 the two are one."""
    torch.manual_seed(seed)
    ways: tuple[Drafting, ...] = ("greedy", "probabilistic") if temperature > 0 else ("greedy",)
    rows = []
    for task in dict.fromkeys(request.task for request in requests):
        outputs = [_write(pair, request, temperature) for request in requests if request.task == task]
        length = sum(len(output.written) for output in outputs) / len(outputs)
        for drafting in ways:
            curve = survival_curve([_acceptance(pair, output, drafting) for output in outputs])
            rows.append(Survival(task, temperature, drafting, curve, length))
    return tuple(rows)


def survival_curve(acceptance: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """S(1..4) from the acceptance probability of each drafted position of each output.

    Every output is walked as an engine would: a step tries up to four positions, ends at the first rejection or
    with a token of the target's own, and the next step starts behind that. Drafts behind the end are not counted.
    """
    tried, passed = [0.0] * K, [0.0] * K
    for output in acceptance:
        starts = [1.0] + [0.0] * (len(output) + K)
        for place in range(len(output)):
            alive = starts[place]
            for i, accepted in enumerate(output[place : place + K]):
                tried[i] += alive
                starts[place + i + 1] += alive * (1 - accepted)
                alive *= accepted
                passed[i] += alive
            starts[place + K + 1 if place + K < len(output) else -1] += alive
    return tuple(accumulate((p / t if t else 0.0 for p, t in zip(passed, tried, strict=True)), mul))


@dataclass(frozen=True, slots=True)
class _Output:
    prompt: list[int]
    written: list[int]
    temperature: float


def _write(pair: LoadedPair, request: ExampleRequest, temperature: float) -> _Output:
    prompt = prompt_tokens(pair, request.prompt)
    return _Output(prompt, continue_text(pair, prompt, temperature, request.max_tokens), temperature)


def _acceptance(pair: LoadedPair, output: _Output, drafting: Drafting) -> list[float]:
    """Acceptance of each written token but the first, which comes from the prefill and is never drafted."""
    tokens, first = output.prompt + output.written, len(output.prompt) + 1
    warmth = output.temperature or 1.0
    q = probabilities(pair.draft, tokens, first, warmth)
    x = torch.tensor(tokens[first:])
    if drafting == "greedy":
        return [float(accepted) for accepted in q.argmax(-1) == x]
    p = probabilities(pair.target, tokens, first, warmth)
    ratio = q.gather(1, x[:, None]) / p.gather(1, x[:, None])
    return [float(accepted) for accepted in ratio.clamp(max=1).flatten()]
