"""The words of drafting by several sources: what is known of a request, and a chain of tokens that a source offers."""

from dataclasses import dataclass
from typing import Protocol

Tokens = list[int] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One request at one step: all its tokens, the new ones of this step last, and how many drafts it wants.

    `sampled` are the tokens that this step gave (empty: its prompt is not read to the end). `offered` is what a draft
    model proposes, if there is one.
    """

    request: str
    task: str
    tokens: Tokens
    prompt_tokens: int
    sampled: Tokens
    k: int
    offered: Tokens = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """Tokens that a source expects next; `strength` is what its past survival is kept by, such as a match's length."""

    source: str
    strength: int
    tokens: tuple[int, ...]


class Source(Protocol):
    """Somewhere drafts come from."""

    def chain(self, step: Step) -> Chain | None:
        """The tokens it expects after those of the step, `step.k` at most; None where it has no idea."""

    def ended(self, task: str, tokens: Tokens, prompt_tokens: int) -> None:
        """A request is over: these were its prompt and its answer."""


def strength(matched: int) -> int:
    """The class of a match's length: 1, 2, 3, 4 (to 5), 6 (to 8) or 9 and more."""
    return next(least for least in (9, 6, 4, 3, 2, 1) if matched >= least)
