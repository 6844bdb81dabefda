"""N-gram lookup: what followed the last time that the request's own last tokens stood there."""

from dataclasses import dataclass

from engines.proposers.chain import Chain, Step, Tokens, strength

NAME = "ngram"


@dataclass(frozen=True, slots=True)
class NgramLookup:
    """The latest of the longest matches of 1 to `longest` tokens, searched in the last `window` tokens."""

    longest: int = 8
    window: int = 4096

    def chain(self, step: Step) -> Chain | None:
        """See Source; a match counts where at least one token follows it."""
        newest_first = step.tokens[-self.window :][::-1]
        found, matched, place = 0, 0, 0
        while matched < self.longest and (place := _next(newest_first, newest_first[0], place + 1)):
            length = _alike(newest_first, place, self.longest)
            if length > matched:  # of equally long matches the latest, which is met first, stays
                found, matched = place, length
        if not matched:
            return None
        return Chain(NAME, strength(matched), tuple(newest_first[max(0, found - step.k) : found][::-1]))

    def ended(self, task: str, tokens: Tokens, prompt_tokens: int) -> None:
        """See Source; nothing is kept of it."""


def _next(tokens: Tokens, token: int, start: int) -> int:
    """The first place from `start` on that holds the token; 0 where none does."""
    try:
        return tokens.index(token, start)
    except ValueError:
        return 0


def _alike(newest_first: Tokens, place: int, longest: int) -> int:
    """How many tokens from `place` on equal those from the beginning on, `longest` at most."""
    length = 0
    while (
        length < longest and place + length < len(newest_first) and newest_first[place + length] == newest_first[length]
    ):
        length += 1
    return length
