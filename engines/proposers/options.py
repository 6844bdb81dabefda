"""The settings of an ensemble, and their way into vLLM's workers."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engines.proposers.chain import Source
from engines.proposers.ensemble import Ensemble
from engines.proposers.history import AnswerHistory
from engines.proposers.ngram import NgramLookup

CONFIG_KEY = "alpharoute_ensemble"
"""Where vLLM's `--additional-config` holds the options."""
WORKER = "engines.proposers.vllm_ensemble.MergingWorker"
NO_DRAFTER = "engines.proposers.vllm_ensemble.NothingOfItsOwn"


class EnsembleOptions(BaseModel):
    """What an ensemble drafts from, beside the pool's drafter if it has one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[Literal["ngram", "history"], ...] = Field(
        default=("ngram", "history"), description="Lookups: in the request's own text, in past answers of its task."
    )
    history_tokens: int = Field(
        default=200_000, ge=1, description="Tokens of past answers to keep, over all tasks; some 300 bytes each."
    )
    least_survival: float = Field(
        default=0.1, ge=0, lt=1, description="Positions that fewer drafts are expected to reach are not drafted."
    )


def ensemble_of(options: EnsembleOptions) -> Ensemble:
    """An ensemble that knows nothing yet."""
    made: Mapping[str, Source] = {
        "ngram": NgramLookup(),
        "history": AnswerHistory(kept_tokens=options.history_tokens),
    }
    return Ensemble({name: made[name] for name in options.sources}, options.least_survival)
