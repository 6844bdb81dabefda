"""How a model samples where a request does not say: vLLM takes it from the model's own generation_config.json."""

import json
import math
from collections.abc import Sequence

from engines.preflight.errors import PreflightError
from engines.preflight.places import find_model
from engines.registry import Sampling
from engines.vllm_flags import argument

OPTION = "--generation-config"
OWN = "auto"
"""vLLM's default for that option; anything else is another source, which is not read here."""


def sampling_of(name: str, args: Sequence[str] = ()) -> Sampling:
    """The temperature and top_p of a served model's requests that name none; `args` are vLLM's.

    vLLM's neutral ones where the model says nothing, cannot be read, or is not asked.
    """
    if argument(args, OPTION) not in (None, OWN):
        return Sampling()
    try:
        said = json.loads((find_model(name) / "generation_config.json").read_bytes())
    except (PreflightError, OSError, ValueError):
        return Sampling()
    if not isinstance(said, dict):
        return Sampling()
    return Sampling(temperature=_within(said.get("temperature"), 2.0), top_p=_within(said.get("top_p"), 1.0))


def _within(value: object, high: float) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good and 0 <= value <= high else 1.0  # type: ignore[arg-type, operator]
