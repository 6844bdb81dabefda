"""Several weak drafters as one: each step drafts the chain that is expected to survive furthest.

The idea of SpecInfer (Miao et al., ASPLOS 2024) is that several small drafters cover more of what the target says
than one. SpecInfer has the target verify a tree of all their proposals; vLLM verifies one chain per request, so here a
chain is chosen before it is verified, and what the others proposed is lost for that step.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from engines.proposers.chain import Chain, Source, Step, Tokens
from engines.proposers.survival import Survival

DRAFT_MODEL = "draft_model"


@dataclass(slots=True)
class _Running:
    task: str
    tokens: Tokens
    prompt_tokens: int
    chains: tuple[Chain, ...] = ()


@dataclass(slots=True)
class Ensemble:
    """Sources by name, what is believed of them, and the requests that run.

    `least_survival`: a position that fewer drafts reach is left out, and not verified in vain.
    `chosen` counts, by source, the steps whose chain was its.
    """

    sources: Mapping[str, Source]
    least_survival: float = 0.1
    survival: Survival = field(default_factory=Survival)
    chosen: Counter[str] = field(default_factory=Counter)
    _running: dict[str, _Running] = field(default_factory=dict)

    def propose(self, steps: Sequence[Step]) -> list[list[int]]:
        """Drafts for each request of a step, its k at most; none where none is expected to survive."""
        return [self._drafts(step) for step in steps]

    def keep(self, running: Collection[str]) -> None:
        """Requests that no longer run are over: the sources may learn from their answers."""
        for name in [name for name in self._running if name not in running]:
            over = self._running.pop(name)
            for source in self.sources.values():
                source.ended(over.task, over.tokens, over.prompt_tokens)

    def _drafts(self, step: Step) -> list[int]:
        if not step.sampled:
            return []
        state = self._seen(step)
        state.chains = tuple(self._chains(step)) if step.k > 0 else ()
        if not state.chains:
            return []
        curves = [self.survival.curve(step.task, chain) for chain in state.chains]
        best = max(range(len(curves)), key=lambda i: sum(curves[i]))
        length = len(list(takewhile(lambda alive: alive >= self.least_survival, curves[best])))
        if length:
            self.chosen[state.chains[best].source] += 1
        return list(state.chains[best].tokens[:length])

    def _seen(self, step: Step) -> _Running:
        """Take in the tokens that came, and score the chains of the step before by them."""
        state = self._running.get(step.request)
        if state is None:
            return self._running.setdefault(step.request, _Running(step.task, step.tokens, step.prompt_tokens))
        for chain in state.chains:
            self.survival.observe(step.task, chain, step.sampled)
        state.tokens = step.tokens
        return state

    def _chains(self, step: Step) -> Iterator[Chain]:
        if step.offered:
            yield Chain(DRAFT_MODEL, 1, tuple(step.offered[: step.k]))
        for source in self.sources.values():
            chain = source.chain(step)
            if chain is not None and chain.tokens:
                yield chain
