"""Write the product's own schemas into the chart's: `python helm/generators/schema.py` after a setting has changed.

values.schema.json is written by hand but for `$defs` that begin with "product.": the routing policy, the settings and
a pool's settings as their pydantic models say them. Keys that the chart sets itself take anything there, for its
checks refuse them with what to use instead.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engines.pool import PoolSettings
from policies.document import Document
from router.config.settings import Settings

SCHEMA = Path(__file__).parents[1] / "alpharoute" / "values.schema.json"

_PREFIX = "product."
_REF = "#/$defs/"
_PARTS = {"Policy": Document, "Settings": Settings, "Pool": PoolSettings}

OWN = {
    "Settings": {"pools", "redis", "policy", "listen", "policy_file", "auth", "admin", "tracing"},
    "Pool": {
        *("name", "model", "engine", "target", "drafter", "method", "k_max"),
        *("replicas", "cpus", "gpus", "urls", "api_key", "drain_s", "autoscaling"),
    },
}
"""Keys of each part that templates/_checks.tpl refuses in words."""


def written() -> str:
    """The schema's text, with the product's parts as they are now."""
    schema = json.loads(SCHEMA.read_text())
    kept = {name: part for name, part in schema["$defs"].items() if not name.startswith(_PREFIX)}
    schema["$defs"] = kept | dict(sorted(_product().items()))
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _product() -> dict[str, Any]:
    """Every part and what it refers to, by prefixed name."""
    found: dict[str, Any] = {}
    for name, model in _PARTS.items():
        schema = model.model_json_schema(ref_template=f"{_REF}{_PREFIX}{{model}}")
        inner = schema.pop("$defs", {})
        schema.pop("required", None)
        schema["properties"] |= {key: {} for key in OWN.get(name, ())}
        found[_PREFIX + name] = _plain(schema)
        for reached in _reached(schema, inner):
            found[_PREFIX + reached] = _plain(inner[reached])
    return found


def _reached(schema: object, inner: Mapping[str, Any]) -> set[str]:
    """Names in `inner` that a schema refers to, themselves or through others."""
    reached: set[str] = set()
    waiting = [schema]
    while waiting:
        for name in _names(waiting.pop()):
            if name not in reached:
                reached.add(name)
                waiting.append(inner[name])
    return reached


def _names(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(ref := part.get("$ref"), str):
            yield ref.removeprefix(_REF + _PREFIX)
        for value in part.values():
            yield from _names(value)
    elif isinstance(part, list):
        for value in part:
            yield from _names(value)


def _plain(schema: Any) -> Any:
    """What is checked, and no prose: titles and descriptions are the product's, and change more often."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: _plain(part) for name, part in value.items()} if key == "properties" else _plain(value)
        for key, value in schema.items()
        if key not in {"title", "description", "default"}
    }
    if {"on", "off"} <= set(kept.get("enum", ())):  # Helm reads a bare `on` or `off` as a truth value
        kept |= {"type": ["string", "boolean"], "enum": [*kept["enum"], True, False]}
    return kept


if __name__ == "__main__":
    SCHEMA.write_text(written())
