"""What the installed vLLM says of speculation, read from its source: importing vLLM takes seconds and a GPU's memory.

Settings are checked in processes that never need vLLM, on machines that may have none: then nothing is known, and
the engine's own start decides.
"""

import ast
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path


@functools.cache
def offered_methods() -> frozenset[str]:
    """The values of `SpeculativeMethod`; empty where they cannot be read."""
    literals = {
        statement.targets[0].id: statement.value.slice
        for statement in _speculative()
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Subscript)
    }
    return frozenset(_names("SpeculativeMethod", literals))


@functools.cache
def speculative_fields() -> frozenset[str]:
    """The fields of `SpeculativeConfig`; empty where they cannot be read."""
    return frozenset(
        field.target.id
        for statement in _speculative()
        if isinstance(statement, ast.ClassDef) and statement.name == "SpeculativeConfig"
        for field in statement.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    )


def forget() -> None:
    """Read anew what is installed now."""
    for read in (_speculative, offered_methods, speculative_fields):
        read.cache_clear()


@functools.cache
def _speculative() -> tuple[ast.stmt, ...]:
    vllm = importlib.util.find_spec("vllm")
    if vllm is None or not vllm.submodule_search_locations:
        return ()
    source = Path(vllm.submodule_search_locations[0]) / "config" / "speculative.py"
    try:
        return tuple(ast.parse(source.read_text()).body)
    except (OSError, SyntaxError):
        return ()


def _names(literal: str, literals: Mapping[str, ast.expr]) -> Iterator[str]:
    """The strings of a `Literal[…]` assignment, those of the literals it names included."""
    members = literals.get(literal)
    for member in members.elts if isinstance(members, ast.Tuple) else [members]:
        if isinstance(member, ast.Constant) and isinstance(member.value, str):
            yield member.value
        elif isinstance(member, ast.Name):
            yield from _names(member.id, literals)
