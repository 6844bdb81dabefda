"""How far each source's drafts survive, estimated while the engine runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.proposers.chain import Chain, Tokens

DEPTH = 4
"""Positions with an estimate of their own; deeper ones share the last."""
KAPPA = 8.0
"""Exposures that the belief above (all tasks, the prior) is worth."""
MEMORY = 400.0
"""Exposures after which old ones fade to a half: drafts of yesterday's traffic must not outvote today's."""
MAX_KEYS = 4096

PRIORS: Mapping[str, float] = {"draft_model": 0.6, "history": 0.5, "ngram": 0.4}
PRIOR = 0.4

Cell = tuple[str, str, int]


@dataclass(slots=True)
class _Sums:
    """Successes and exposures by position."""

    s: list[float] = field(default_factory=lambda: [0.0] * DEPTH)
    e: list[float] = field(default_factory=lambda: [0.0] * DEPTH)

    def add(self, position: int, success: bool) -> None:
        if self.e[position] >= MEMORY:
            self.s[position] /= 2
            self.e[position] /= 2
        self.s[position] += success
        self.e[position] += 1


@dataclass(slots=True)
class Survival:
    """Conditional acceptance h_i by task, source and strength, shrunk towards that of all tasks.

    Every chain is scored, also those that were not drafted: the tokens that came out are what it would have been
    verified against. With drafts of probability one, a draft is accepted exactly where it equals the token that comes
    out, at any temperature.
    """

    _own: dict[Cell, _Sums] = field(default_factory=dict)
    _all: dict[tuple[str, int], _Sums] = field(default_factory=dict)

    def observe(self, task: str, chain: Chain, came: Tokens) -> None:
        """Score a chain by the tokens that came; past the first that differs or the last that came nothing is known."""
        if len(self._own) >= MAX_KEYS:
            self._own.clear()
        own = self._own.setdefault((task, chain.source, chain.strength), _Sums())
        everywhere = self._all.setdefault((chain.source, chain.strength), _Sums())
        for i, (draft, token) in enumerate(zip(chain.tokens, came, strict=False)):
            for sums in (own, everywhere):
                sums.add(min(i, DEPTH - 1), draft == token)
            if draft != token:
                return

    def curve(self, task: str, chain: Chain) -> list[float]:
        """S(1), S(2), … of the chain's tokens."""
        own = self._own.get((task, chain.source, chain.strength))
        everywhere = self._all.get((chain.source, chain.strength))
        prior = PRIORS.get(chain.source, PRIOR)
        survival, alive = [], 1.0
        for i in range(len(chain.tokens)):
            position = min(i, DEPTH - 1)
            h = _shrunk(own, position, _shrunk(everywhere, position, prior))
            alive *= h
            survival.append(alive)
        return survival


def _shrunk(sums: _Sums | None, position: int, mean: float) -> float:
    return mean if sums is None else (sums.s[position] + KAPPA * mean) / (sums.e[position] + KAPPA)
