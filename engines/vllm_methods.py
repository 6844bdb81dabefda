"""Which speculation methods vLLM 0.32 has, and what each needs."""

from dataclasses import dataclass
from typing import Literal

from engines.pool import PoolSettings


@dataclass(frozen=True, slots=True)
class Method:
    """What a method needs: a drafter of its own or none, and whether vLLM schedules it asynchronously."""

    drafter: Literal["needed", "optional", "none"]
    asynchronous: bool = False
    drafts_every_step: bool = True


METHODS = {
    "ngram": Method("none", drafts_every_step=False),
    "ngram_gpu": Method("none", asynchronous=True, drafts_every_step=False),
    "suffix": Method("none", drafts_every_step=False),
    "draft_model": Method("needed", asynchronous=True),
    "eagle": Method("needed", asynchronous=True),
    "eagle3": Method("needed", asynchronous=True),
    "medusa": Method("needed"),
    "dflash": Method("needed", asynchronous=True),
    "dspark": Method("needed", asynchronous=True),
    "mtp": Method("optional", asynchronous=True),
    "custom_class": Method("needed", drafts_every_step=False),
}
"""vLLM 0.32's `SpeculativeMethod` without mlp_speculator (gone in 0.33) and the model-specific names of mtp.
`asynchronous` repeats the list its `VllmConfig` checks; `drafts_every_step` is False where a step may find no draft."""

ON_GPU_ONLY = frozenset({"ngram_gpu"})


def method_problem(pool: PoolSettings, *, on_cpu: bool) -> str | None:
    """What is wrong with the pool's `method` and `drafter`, in words for the operator; None if nothing."""
    if pool.method is None:
        return f"drafter {pool.drafter!r} is given without a method" if pool.drafter else None
    method = METHODS.get(pool.method)
    if method is None:
        return f"method {pool.method!r} is not one of vLLM 0.32's: {', '.join(METHODS)}"
    if on_cpu and pool.method in ON_GPU_ONLY:
        return f"method {pool.method!r} needs a GPU; on a CPU use 'ngram'"
    if method.drafter == "needed" and not pool.drafter:
        return f"method {pool.method!r} needs a drafter"
    if method.drafter == "none" and pool.drafter:
        return f"method {pool.method!r} takes no drafter, got {pool.drafter!r}"
    return None
