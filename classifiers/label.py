"""What a classifier answers, and the seam through which the router asks."""

from dataclasses import dataclass
from typing import Literal, Protocol

from classifiers.prompt import Prompt
from policies.quick import quick
from policies.task import OTHER, TASKS

Source = Literal["header", "metadata", "model", "tools", "fallback"]
"""Who named the task: the client (header, metadata), the model, the presence of tools, or nobody (fallback)."""

Likely = tuple[tuple[str, float], ...]
"""Tasks with their probabilities, the most probable first."""


@quick
@dataclass(frozen=True, slots=True)
class Label:
    """The task of one prompt; `confidence` is the calibrated probability (0–1) that the task is right.

    `likely` holds the tasks that come into question with their probabilities, the best first: one where there is no
    doubt, none where nothing but the task is known (explicit labels, and `other` for want of confidence).
    """

    task: str
    confidence: float
    source: Source
    likely: Likely = ()


class Classifier(Protocol):
    """Names the task of a prompt; implementations answer for every prompt and never raise."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task it can name, `other` included."""

    def classify(self, prompt: Prompt) -> Label:
        """The task of the prompt."""


class Uninformed:
    """The classifier that knows nothing: `other` with confidence 0, for a router without a model."""

    def __init__(self, tasks: tuple[str, ...] = (*TASKS, OTHER)) -> None:
        """Answer `other`, and report `tasks` as known so that explicit labels can still be checked."""
        self._tasks = tasks if OTHER in tasks else (*tasks, OTHER)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it was told of, and `other`."""
        return self._tasks

    def classify(self, prompt: Prompt) -> Label:
        """`other`, whatever the prompt."""
        return Label(OTHER, 0.0, "fallback")
