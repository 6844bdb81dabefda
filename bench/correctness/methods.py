"""The methods of the run, each as a pool's settings, and what vLLM is given for it."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass

from bench.correctness.pair import Models
from engines.pool import PoolSettings
from engines.vllm_command import build_command

K_MAX = 4
FLAGS = ("--speculative-config", "--scheduler-cls", "--worker-extension-cls", "--additional-config")


@dataclass(frozen=True, slots=True)
class Run:
    """One engine of the run: the pool's method, whose folder its drafter is, and further options of vLLM."""

    method: str
    drafter: str | None = None
    speculative: Mapping[str, object] | None = None


RUNS = {
    "draft_model": Run("draft_model", "draft_model"),
    "draft_model_probabilistic": Run("draft_model", "draft_model", {"draft_sample_method": "probabilistic"}),
    "ngram": Run("ngram", None, {"prompt_lookup_min": 1, "prompt_lookup_max": 4}),
    "suffix": Run("suffix"),
    "medusa": Run("medusa", "medusa"),
    "eagle": Run("eagle", "eagle"),
    "ensemble": Run("ensemble"),
    "ensemble_with_draft_model": Run("ensemble", "draft_model"),
}
"""Every method whose code runs on a CPU with weights that this project can make."""
VANILLA = "vanilla"


def missing(name: str) -> str | None:
    """Why a method cannot run here; None where it can."""
    if name == "suffix" and importlib.util.find_spec("arctic_inference") is None:
        return "arctic-inference is not installed"
    return None


def engine_options(name: str, models: Models) -> dict[str, object]:
    """What `vllm.LLM` is given beside the model, as the command line of a pool would."""
    if name == VANILLA:
        return {}
    run = RUNS[name]
    pool = PoolSettings.model_validate(
        {
            "name": "correctness",
            "target": str(models.target),
            "method": run.method,
            "drafter": str(models.drafters[run.drafter]) if run.drafter else None,
            "k_max": K_MAX,
            "vllm": {"device": "cpu", "speculative": dict(run.speculative or {})},
        }
    )
    argv = build_command(pool, host="127.0.0.1", port=1, api_key="").argv
    given = {flag: argv[argv.index(flag) + 1] for flag in FLAGS if flag in argv}
    return {
        flag[2:].replace("-", "_"): json.loads(text) if text.startswith("{") else text for flag, text in given.items()
    }
