"""Text that fits a JSON schema: what stands around the generated words, or in their place, to make an instance."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

HOLE = "\x00"
"""Where the generated text goes while an instance is put together; no schema's own text holds it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """JSON around a generated text, or where `silent` in place of it: a schema may have no room for words."""

    before: str
    after: str
    silent: bool = False


ANY_OBJECT = Frame('{"input":"', '"}')
"""For what asks for an object and says nothing of its fields."""


def frame_of(schema: object) -> Frame:
    """The smallest instance of an object's schema whose first string is the generated text."""
    if not isinstance(schema, Mapping) or not schema.get("properties"):
        return ANY_OBJECT
    text = json.dumps(_instance(schema, schema.get("$defs"), [HOLE]), separators=(",", ":"), ensure_ascii=False)
    before, hole, after = text.partition(json.dumps(HOLE)[1:-1])
    return Frame(before, after, silent=not hole)


def _instance(schema: object, named: object, hole: list[str]) -> object:
    """An instance; `hole` holds the mark until the first string takes it."""
    if not isinstance(schema, Mapping):
        return None
    if isinstance(ref := schema.get("$ref"), str) and isinstance(named, Mapping):
        return _instance(named.get(ref.rpartition("/")[2]), named, hole)
    if "const" in schema or schema.get("enum"):
        return schema.get("const", (schema.get("enum") or [None])[0])
    kind = schema.get("type", "object" if "properties" in schema else None)
    if kind == "object":
        properties = schema.get("properties")
        fields = properties.items() if isinstance(properties, Mapping) else ()
        return {name: _instance(inner, named, hole) for name, inner in fields}
    if kind == "string":
        return hole.pop() if hole else ""
    return {"integer": 0, "number": 0.0, "boolean": True, "array": []}.get(kind) if isinstance(kind, str) else None
