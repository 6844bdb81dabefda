"""The methods of the run, each as a pool's settings, and what vLLM is given for it."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.correctness.pair import Models
from engines.pool import PoolSettings
from engines.vllm_command import build_command

K_MAX = 4
FLAGS = ("--speculative-config", "--scheduler-cls", "--worker-extension-cls", "--additional-config")


@dataclass(frozen=True, slots=True)
class Run:
    """One engine of the run: the pool's method, whose folder its drafter is, and further options."""

    method: str
    drafter: str | None = None
    speculative: Mapping[str, object] | None = None
    ensemble: Mapping[str, object] | None = None

    def pool(self, name: str, target: Path, drafters: Mapping[str, Path], vllm: Mapping[str, object]) -> PoolSettings:
        """The settings of a pool that runs it."""
        given = {
            "name": name,
            "target": str(target),
            "method": self.method,
            "drafter": str(drafters[self.drafter]) if self.drafter else None,
            "k_max": K_MAX,
            "ensemble": dict(self.ensemble or {}),
            "vllm": {"speculative": dict(self.speculative or {}), **vllm},
        }
        return PoolSettings.model_validate(given)


RUNS = {
    "draft_model": Run("draft_model", "draft_model"),
    "draft_model_probabilistic": Run("draft_model", "draft_model", {"draft_sample_method": "probabilistic"}),
    "ngram": Run("ngram", None, {"prompt_lookup_min": 1, "prompt_lookup_max": 4}),
    "suffix": Run("suffix"),
    "medusa": Run("medusa", "medusa"),
    "eagle": Run("eagle", "eagle"),
    "history": Run("ensemble", ensemble={"sources": ["history"]}),
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
    pool = RUNS[name].pool("correctness", models.target, models.drafters, {"device": "cpu"})
    argv = build_command(pool, host="127.0.0.1", port=1, api_key="").argv
    given = {flag: argv[argv.index(flag) + 1] for flag in FLAGS if flag in argv}
    return {
        flag[2:].replace("-", "_"): json.loads(text) if text.startswith("{") else text for flag, text in given.items()
    }
