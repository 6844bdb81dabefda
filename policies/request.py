"""A request as the policy sees it."""

from dataclasses import dataclass
from typing import Literal

from policies.quick import quick
from policies.task import OTHER

DEFAULT_SEGMENT = "default"

LONG_CONTEXT_TOKENS = 4096
"""Prompts from here on keep their own acceptance: drafters trained on short texts lose it on long ones."""

Bucket = Literal["0", "low", "high"]

Shape = Literal["plain", "long", "tools", "grammar"]

Speculation = Literal["auto", "on", "off"]


def bucket_of(temperature: float) -> Bucket:
    """The temperature bucket that keeps its own acceptance: greedy, up to .7, above."""
    if temperature <= 0:
        return "0"
    return "low" if temperature <= 0.7 else "high"


@quick
@dataclass(frozen=True, slots=True)
class Request:
    """What the policy may know of a request; token counts are estimates, `affinity` names its session or prefix.

    `headers` are those that rules ask for, by their names in lower case.

    `likely` holds the tasks that it may be with their probabilities; empty where `task` is certain, or `other`.
    `measured` is False where the answer will not tell what was accepted: nothing can be learnt from it.
    """

    model: str
    task: str = OTHER
    confidence: float = 1.0
    segment: str = DEFAULT_SEGMENT
    temperature: float = 1.0
    prompt_tokens: int = 0
    max_tokens: int | None = None
    n: int = 1
    tools: bool = False
    grammar: bool = False
    speculation: Speculation = "auto"
    measured: bool = True
    affinity: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    likely: tuple[tuple[str, float], ...] = ()

    @property
    def doubted(self) -> bool:
        """True where the classifier names other tasks beside `task`."""
        return len(self.likely) > 1

    @property
    def shape(self) -> Shape:
        """The one property of the request, besides task and temperature, that keeps acceptance apart."""
        if self.grammar:
            return "grammar"
        if self.tools:
            return "tools"
        return "long" if self.prompt_tokens >= LONG_CONTEXT_TOKENS else "plain"
