"""Lookup over past answers of the task, like a suffix tree's, in bounded memory."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from engines.proposers.chain import Chain, Step, Tokens, strength

NAME = "history"
ANCHOR = 2
"""Tokens that a match has at least: the index is by so many, and one alone says next to nothing."""
LEAD = 8
"""Tokens of the prompt that are kept before an answer: what an answer begins with follows from how its prompt ends."""
PLACES = 16
"""Places that one anchor remembers, the latest."""

Anchor = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    task: str
    tokens: tuple[int, ...]


@dataclass(slots=True)
class AnswerHistory:
    """The last answers of all tasks, `kept_tokens` tokens together; a task looks in its own alone.

    An index entry per token and `PLACES` per anchor at most: some 300 bytes a token, all told.
    """

    kept_tokens: int = 200_000
    longest: int = 16
    held_tokens: int = 0
    _answers: deque[_Answer] = field(default_factory=deque)
    _places: OrderedDict[Anchor, deque[tuple[_Answer, int]]] = field(default_factory=OrderedDict)

    def chain(self, step: Step) -> Chain | None:
        """The tokens that most of the longest matches agree on, one after another."""
        places = self._places.get((step.task, tuple(step.tokens[-ANCHOR:])))
        if places is None:
            return None
        tail = step.tokens[-self.longest :]
        ranked = [(_agreeing(answer.tokens, end, tail), answer, end) for answer, end in places]
        matched = max(length for length, _, _ in ranked)
        # The latest first: where the votes are equal it wins.
        alike = [answer.tokens[end + 1 : end + 1 + step.k] for length, answer, end in ranked[::-1] if length == matched]
        tokens = _agreed(alike)
        return Chain(NAME, strength(matched), tokens) if tokens else None

    def ended(self, task: str, tokens: Tokens, prompt_tokens: int) -> None:
        """Keep an answer and the end of its prompt; the oldest answers make room."""
        kept = _Answer(task, tuple(tokens[max(0, prompt_tokens - LEAD) :][: self.kept_tokens]))
        if len(kept.tokens) <= ANCHOR:
            return
        self._answers.append(kept)
        self.held_tokens += len(kept.tokens)
        for anchor, end in _anchors(kept):
            self._places.setdefault(anchor, deque(maxlen=PLACES)).append((kept, end))
        while self.held_tokens > self.kept_tokens:
            self._drop(self._answers.popleft())

    def _drop(self, old: _Answer) -> None:
        self.held_tokens -= len(old.tokens)
        for anchor, _ in _anchors(old):
            places = self._places.get(anchor)
            while places and places[0][0] is old:  # entries are in the answers' order
                places.popleft()
            if places is not None and not places:
                del self._places[anchor]


def _anchors(answer: _Answer) -> list[tuple[Anchor, int]]:
    """Every pair of tokens that another follows, and where it ends."""
    tokens = answer.tokens
    ends = range(ANCHOR - 1, len(tokens) - 1)
    return [((answer.task, tokens[end - ANCHOR + 1 : end + 1]), end) for end in ends]


def _agreeing(past: Tokens, end: int, tail: Tokens) -> int:
    """How many tokens up to `past[end]` equal the last of `tail`."""
    length = 0
    while length < len(tail) and length <= end and past[end - length] == tail[-1 - length]:
        length += 1
    return length


def _agreed(chains: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Walk along what most chains say, leaving behind those that said otherwise."""
    agreed: list[int] = []
    while voters := [chain for chain in chains if len(chain) > len(agreed)]:
        token, _ = Counter(chain[len(agreed)] for chain in voters).most_common(1)[0]
        chains = [chain for chain in voters if chain[len(agreed)] == token]
        agreed.append(token)
    return tuple(agreed)
