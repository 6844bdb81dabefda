"""Which speculation methods there are, what each needs, and which of them the installed vLLM offers."""

import ast
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


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
"""vLLM 0.32's `SpeculativeMethod` without what `UNSUPPORTED` explains and the model-specific names of mtp.
`asynchronous` repeats the list its `VllmConfig` checks; `drafts_every_step` is False where a step may find no draft."""

UNSUPPORTED = {
    "mlp_speculator": "vLLM 0.32 deprecates it and 0.33 removes it; use 'eagle' or 'draft_model'",
    "extract_hidden_states": "it drafts nothing: it collects training data",
}
ON_GPU_ONLY = frozenset({"ngram_gpu"})
PACKAGES = {"suffix": "arctic_inference"}
"""Modules a method imports that vLLM does not bring along."""


def method_problem(method: str, drafter: str | None) -> str | None:
    """What is wrong with a pool's `method` and `drafter`, in words for the operator; None if nothing."""
    return unknown_method(method) or drafter_problem(method, drafter)


def machine_problem(method: str, *, on_cpu: bool) -> str | None:
    """What the method lacks on the machine that is to run it, in words; None if nothing."""
    if on_cpu and method in ON_GPU_ONLY:
        return f"method {method!r} needs a GPU; on a CPU use 'ngram'"
    needed = PACKAGES.get(method)
    if needed is not None and importlib.util.find_spec(needed) is None:
        return f"method {method!r} needs a package of its own: pip install {needed.replace('_', '-')}"
    return None


def unknown_method(method: str) -> str | None:
    """Why this project or the installed vLLM has no such method, and what there is instead; None where it has."""
    here = offered()
    known = [name for name in METHODS if not here or name in here]
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


@functools.cache
def offered() -> frozenset[str]:
    """The installed vLLM's methods; empty where none is installed or its source says them in another way.

    Read from its source: importing vLLM takes seconds, and settings are checked in processes that never need it.
    """
    vllm = importlib.util.find_spec("vllm")
    if vllm is None or not vllm.submodule_search_locations:
        return frozenset()
    source = Path(vllm.submodule_search_locations[0]) / "config" / "speculative.py"
    try:
        tree = ast.parse(source.read_text())
    except (OSError, SyntaxError):
        return frozenset()
    literals = {
        statement.targets[0].id: statement.value.slice
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Subscript)
    }
    return frozenset(_names("SpeculativeMethod", literals))


def _names(literal: str, literals: Mapping[str, ast.expr]) -> Iterator[str]:
    """The strings of a `Literal[…]` assignment, those of the literals it names included."""
    members = literals.get(literal)
    for member in members.elts if isinstance(members, ast.Tuple) else [members]:
        if isinstance(member, ast.Constant) and isinstance(member.value, str):
            yield member.value
        elif isinstance(member, ast.Name):
            yield from _names(member.id, literals)
