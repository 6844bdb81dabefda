"""Runs prompts against live engines at each k, in interleaved rounds: what else the machine does meets all alike."""

import random
from collections import Counter
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
    once: bool = False
    """Deal each task's prompts among the k, so that no engine is asked the same twice: for drafters that learn from
    answers. A vanilla engine is asked all of them."""
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
    share = _shares(plan)
    rounds = []
    for _ in range(plan.rounds):
        order: list[tuple[int, Target, int]] = []
        for place in rng.sample(range(len(plan.prompts)), len(plan.prompts)):
            kinds = [(one, k) for one in targets for k in ((0,) if one.vanilla else share[place])]
            order += [(place, target, k) for target, k in rng.sample(kinds, len(kinds))]
        rounds.append(order)
    return rounds


def _shares(plan: Plan) -> list[tuple[int, ...]]:
    """The k that each prompt is asked at."""
    if not plan.once:
        return [plan.ks] * len(plan.prompts)
    seen, shares = Counter[str](), list[tuple[int, ...]]()
    for prompt in plan.prompts:
        shares.append((plan.ks[seen[prompt.task] % len(plan.ks)],))
        seen[prompt.task] += 1
    return shares


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
