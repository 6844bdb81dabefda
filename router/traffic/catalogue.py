"""Which models clients may name: what the pools serve, LoRA adapters, and aliases; and how they are listed."""

from collections.abc import Mapping
from dataclasses import dataclass

from engines.pool import PoolSettings
from engines.registry import Sampling
from router.errors import NotFound
from router.traffic.fleet import Fleet

CREATED_S = 0
"""Nobody knows when a model was made, and what one router makes up another contradicts."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Names by what they stand for; `loras` maps an adapter to its base model, `aliases` a name to the one served."""

    models: frozenset[str]
    loras: Mapping[str, str]
    aliases: Mapping[str, str]
    fleet: Fleet

    def served(self, asked: str) -> str:
        """The name under which engines serve what a client calls `asked`; NotFound where none does."""
        model = self.aliases.get(asked, asked)
        if model in self.models or model in self.loras or self.fleet.serves(model):
            return model
        names = ", ".join(sorted({*self.models, *self.loras, *self.aliases}))
        raise NotFound(f"There is no model {asked!r} here; there are {names}.", param="model", code="model_not_found")

    def sampling(self, served: str) -> Sampling:
        """How a model, by the name under which engines serve it, samples where a request does not say."""
        return self.fleet.sampling(served)

    def cards(self) -> list[dict[str, object]]:
        """OpenAI's model objects, with vLLM's `root`, `parent` and `max_model_len` (the longest any engine takes)."""
        names = {name: name for name in (*self.models, *self.loras)} | dict(self.aliases)
        return [self._card(name, model) for name, model in sorted(names.items())]

    def card(self, asked: str) -> dict[str, object]:
        """One model object; NotFound where the name is unknown."""
        return self._card(asked, self.served(asked))

    def _card(self, name: str, model: str) -> dict[str, object]:
        lengths = [replica.pool.max_context_tokens for replica in self.fleet.replicas(model)]
        return {
            "id": name,
            "object": "model",
            "created": CREATED_S,
            "owned_by": "alpharoute",
            "root": model,
            "parent": self.loras.get(model),
            "max_model_len": max((length for length in lengths if length is not None), default=None),
        }


def catalogue_of(pools: tuple[PoolSettings, ...], aliases: Mapping[str, str], fleet: Fleet) -> Catalogue:
    """The catalogue of these settings."""
    loras = {name: pool.model for pool in pools for name in pool.loras}
    return Catalogue(frozenset(pool.model for pool in pools), loras, aliases, fleet)
