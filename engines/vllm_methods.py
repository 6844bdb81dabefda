"""Which speculation methods there are, what each needs, and which of them the installed vLLM offers."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from engines.vllm_source import offered_methods, speculative_fields


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
    "dspark": Method("optional", asynchronous=True),
    "mtp": Method("optional", asynchronous=True),
    "custom_class": Method("needed", drafts_every_step=False),
    "ensemble": Method("optional", drafts_every_step=False),
}
"""vLLM 0.32's `SpeculativeMethod` without what `UNSUPPORTED` explains and the model-specific names of mtp.
`asynchronous` repeats the list its `VllmConfig` checks; `drafts_every_step` is False where a step may find no draft."""

ENSEMBLE = "ensemble"
"""This project's own: lookups and, with a drafter, a draft model (`engines.proposers`)."""


def vllm_method(method: str, drafter: str | None) -> str:
    """The method that vLLM is told: its own, or the one that an ensemble goes by."""
    if method != ENSEMBLE:
        return method
    return "draft_model" if drafter else "custom_class"


UNSUPPORTED = {
    "mlp_speculator": "vLLM 0.32 names it and no longer has what runs it; use 'eagle' or 'draft_model'",
    "extract_hidden_states": "it drafts nothing: it collects training data",
}
ON_GPU_ONLY = frozenset({"ngram_gpu"})
PACKAGES = {"suffix": "arctic_inference"}
"""Modules a method imports that vLLM does not bring along."""

OWN_OPTIONS = frozenset(
    {"method", "model", "revision", "num_speculative_tokens", "num_speculative_tokens_per_batch_size"}
)
"""Fields of vLLM's speculative_config that follow from a pool's other settings; the last one is vLLM's own schedule of
k by batch size, in whose place k is chosen per request."""

OPTION_METHODS = {
    "use_heterogeneous_vocab": frozenset({"draft_model"}),
    "enable_adaptive_verification": frozenset({"dspark"}),
    "prompt_lookup_min": frozenset({"ngram", "ngram_gpu"}),
    "prompt_lookup_max": frozenset({"ngram", "ngram_gpu"}),
    "quantization": frozenset(name for name, method in METHODS.items() if method.drafter != "none") - {"custom_class"},
    "parallel_drafting": frozenset({"draft_model", "eagle", "eagle3", "dflash", "dspark"}),
}
"""Options that vLLM takes for some methods only, which it says late or not at all."""
SUFFIX_ALONE = frozenset({"suffix"})


def method_problem(method: str, drafter: str | None) -> str | None:
    """What is wrong with a pool's `method` and `drafter`, in words for the operator; None if nothing."""
    return unknown_method(method) or drafter_problem(method, drafter)


def machine_problem(method: str, options: Mapping[str, object], *, on_cpu: bool) -> str | None:
    """What the method and its options lack on the machine that is to run them, in words; None if nothing."""
    if on_cpu and options.get("rejection_sample_method") == "synthetic":
        return "vllm.speculative: the CPU build of vLLM has no 'synthetic' rejection_sample_method"
    if on_cpu and method in ON_GPU_ONLY:
        return f"method {method!r} needs a GPU; on a CPU use 'ngram'"
    needed = PACKAGES.get(method)
    if needed is not None and importlib.util.find_spec(needed) is None:
        return f"method {method!r} needs a package of its own: pip install {needed.replace('_', '-')}"
    return None


def unknown_method(method: str) -> str | None:
    """Why this project or the installed vLLM has no such method, and what there is instead; None where it has."""
    here = offered_methods()
    known = [name for name in METHODS if not here or vllm_method(name, None) in here]
    if method in known:
        return None
    said = f"method {method!r} is not supported"
    if method in METHODS:
        said = f"method {method!r} is not in the installed vLLM"
    elif method in UNSUPPORTED:
        said += f" ({UNSUPPORTED[method]})"
    elif method.endswith("_mtp"):
        said += " under this name: it is 'mtp'"
    return f"{said}; there are: {', '.join(known)}"


def drafter_problem(method: str, drafter: str | None) -> str | None:
    """Whether the method lacks a drafter or has one too many, in words; None if it fits or is not known."""
    known = METHODS.get(method)
    if known is not None and known.drafter == "needed" and not drafter:
        return f"method {method!r} needs a drafter"
    if known is not None and known.drafter == "none" and drafter:
        return f"method {method!r} takes no drafter, got {drafter!r}"
    return None


def option_problem(method: str | None, options: Mapping[str, object]) -> str | None:
    """What is wrong with `vllm.speculative`, further fields of speculative_config, in words; None if nothing."""
    if options and method is None:
        return f"vllm.speculative ({', '.join(options)}) is given without a method"
    known = speculative_fields()
    for name, value in options.items():
        if name in OWN_OPTIONS:
            return f"vllm.speculative may not hold {name}: it is set from the pool's other settings"
        if known and name not in known:
            near = get_close_matches(name, known, n=1)
            return (
                f"vllm.speculative: the installed vLLM has no {name!r}{f', did you mean {near[0]!r}?' if near else ''}"
            )
        if method == ENSEMBLE and name == "draft_sample_method" and value != "greedy":
            return f"vllm.speculative: {name!r} must be 'greedy' for an ensemble, whose drafts have no probabilities"
        methods = SUFFIX_ALONE if name.startswith("suffix_decoding_") else OPTION_METHODS.get(name)
        if value and methods is not None and method not in methods:
            return f"vllm.speculative: {name!r} is for {', '.join(sorted(methods))}, the method is {method!r}"
    return None
