"""`python -m bench.preflight.families`: write the defaults of every family that the installed vLLM serves."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from engines.preflight import families

FILE = Path(families.__file__).with_name("families.json")


def read_families() -> dict[str, Any]:
    """Per family its configuration class's defaults, and which family a multimodal one has for text by default."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    inner, defaults = {}, {}
    for family in _served():
        text = CONFIG_MAPPING[family]().get_text_config()
        if text.model_type != family:
            inner[family] = text.model_type
        values = {field.name: field.default for field in dataclasses.fields(type(text))}
        values["tie_word_embeddings"] = getattr(text, "tie_word_embeddings", None)  # of some, their common class's
        kept = {
            name: values[name] for name in sorted(families.FIELDS & set(values)) if type(values[name]) in (int, bool)
        }
        if kept:
            defaults[text.model_type] = kept
    return {"defaults": dict(sorted(defaults.items())), "inner": inner}


def _served() -> list[str]:
    """Families of language models that transformers configures and vLLM runs, with code of its own or transformers'."""
    import vllm.config  # noqa: F401  # first: its parts import each other in a circle otherwise
    from transformers.models.auto import modeling_auto as auto
    from vllm.model_executor.models import registry

    listed = (registry._TEXT_GENERATION_MODELS, registry._MULTIMODAL_MODELS, registry._TRANSFORMERS_SUPPORTED_MODELS)
    run = {name.lower() for names in listed for name in names}
    named = (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    return sorted(
        {
            family
            for names in named
            for family, found in names.items()
            if any(one.lower() in run for one in ([found] if isinstance(found, str) else found))
        }
    )


def main() -> int:
    """Write the file."""
    found = read_families()
    lines = [f"    {json.dumps(name)}: {json.dumps(values)}" for name, values in found["defaults"].items()]
    inner = json.dumps(found["inner"])
    FILE.write_text('{\n  "defaults": {\n' + ",\n".join(lines) + f'\n  }},\n  "inner": {inner}\n}}\n')
    sys.stdout.write(f"{FILE}: {len(lines)} families\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
