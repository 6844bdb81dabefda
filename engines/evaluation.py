"""Runs prompts against live engines at each k, in interleaved rounds: what else the machine does meets all alike."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engines.contract import EngineMetrics
from engines.engine_client import EngineClient

WARM_UP_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and its task; `max_tokens` is the longest answer."""

    task: str
    text: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: every prompt at every k on every engine, `rounds` times, one request at a time."""

    prompts: tuple[Prompt, ...]
    ks: tuple[int, ...] = (0, 1, 2, 4)
    rounds: int = 2
    temperature: float = 0.0
    chat: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """An engine of the evaluation: asked with the plan's k, a vanilla one with 0 alone."""

    name: str
    client: EngineClient
    vanilla: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: of which engine, to which prompt (its place in the plan), at which k and in which round."""

    engine: str
    task: str
    prompt: int
    k: int
    round: int
    metrics: EngineMetrics


def requests_of(plan: Plan, targets: Sequence[Target]) -> list[list[tuple[int, Target, int]]]:
    """Per round, prompt, engine and k in an order of its own: neither k nor engine always goes first."""
    rng = random.Random(plan.seed)
    kinds = [(target, k) for target in targets for k in ((0,) if target.vanilla else plan.ks)]
    rounds = []
    for _ in range(plan.rounds):
        order: list[tuple[int, Target, int]] = []
        for place in rng.sample(range(len(plan.prompts)), len(plan.prompts)):
            order += [(place, target, k) for target, k in rng.sample(kinds, len(kinds))]
        rounds.append(order)
    return rounds


async def run(plan: Plan, targets: Sequence[Target], done: Callable[[int, int], None]) -> list[Sample]:
    """All answers; `done` is told how many of how many there are. MeasurementError where an engine gives none."""
    for target in targets:  # a cold engine's first answer is no sample
        first, k = plan.prompts[0], 0 if target.vanilla else max(plan.ks)
        await target.client.ask(first.text, k=k, tokens=WARM_UP_TOKENS, temperature=plan.temperature, chat=plan.chat)
    rounds = requests_of(plan, targets)
    total, samples = sum(map(len, rounds)), list[Sample]()
    for turn, order in enumerate(rounds):
        for place, target, k in order:
            prompt = plan.prompts[place]
            metrics = await target.client.ask(
                prompt.text,
                k=k,
                tokens=prompt.max_tokens,
                temperature=plan.temperature,
                task=prompt.task,
                chat=plan.chat,
            )
            samples.append(Sample(target.name, prompt.task, place, k, turn, metrics))
            done(len(samples), total)
    return samples
