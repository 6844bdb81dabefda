"""Why a prompt was given its task: the features that spoke loudest for it, and for the runner-up."""

from collections.abc import Iterator
from dataclasses import dataclass

from classifiers.label import Label
from classifiers.model import API_CALL, Model, Weights, rows_of
from classifiers.prompt import Prompt
from classifiers.structure import NAMES, structure
from classifiers.words import BLOCKS, blocks


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature of the prompt; `weight` is its push towards the task, in units of the score (log odds)."""

    block: str
    feature: str
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The label, the probability of every task, and the strongest reasons for the task against the runner-up."""

    label: Label
    probabilities: dict[str, float]
    runner_up: str
    reasons: tuple[Reason, ...]


def explain(model: Model, prompt: Prompt, most: int = 12) -> Explanation:
    """Why the model labels the prompt as it does, with at most `most` reasons, strongest first."""
    weights = model.weights
    probabilities = model.probabilities(prompt)
    best, second = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)[:2]
    reasons = sorted(_reasons(weights, prompt, best, second), key=lambda reason: -abs(reason.weight))
    return Explanation(
        label=model.classify(prompt),
        probabilities=dict(zip(weights.tasks, probabilities, strict=True)),
        runner_up=weights.tasks[second],
        reasons=tuple(reasons[:most]),
    )


def _reasons(weights: Weights, prompt: Prompt, best: int, second: int) -> Iterator[Reason]:
    if prompt.has_tools and API_CALL in (weights.tasks[best], weights.tasks[second]):
        sign = 1 if weights.tasks[best] == API_CALL else -1
        yield Reason("request", "tools", sign * weights.tools_bonus)
    for at, (name, value) in enumerate(zip(NAMES, structure(prompt), strict=True)):
        push = value * (weights.shape[at, best] - weights.shape[at, second])
        if push:
            yield Reason("shape", name, float(push))
    present = blocks(prompt)
    for block in BLOCKS:
        found = rows_of(weights.vocabulary[block], present[block])
        names = {
            weights.vocabulary[block][feature]: feature for feature in present[block] & weights.vocabulary[block].keys()
        }
        for row in found:
            push = (weights.words[row, best] - weights.words[row, second]) / len(found) ** 0.5
            yield Reason(block, names[row], float(push))
