"""What an engine costs and what its drafters achieve, read from a YAML file."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.policy.reading import read_mapping, validated

FOLDER = Path(__file__).parent / "calibrations"

Share = Annotated[float, Field(ge=0, le=1)]
Time = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """Base of the parts of a calibration file: frozen, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(Part):
    """Step time: base + per_request·B + per_draft·ΣK + speculating·1(K>0) + per_k·max K + per_kv_token·KV, in ms.

    `idle_drafter_share` is what k = 0 costs more in a speculative engine than in a vanilla one; `noise` the relative
    spread.
    """

    base_ms: Annotated[float, Field(gt=0)]
    per_request_ms: Time
    per_draft_ms: Time
    speculating_ms: Time = 0.0
    per_k_ms: Time
    per_kv_token_ms: Time = 0.0
    idle_drafter_share: Share = 0.0
    noise: Share = 0.03


class Spread(Part):
    """A log-normal number of tokens: its mean, its spread (sigma of the logarithm) and the least."""

    mean: Annotated[float, Field(gt=0)]
    spread: Annotated[float, Field(ge=0)] = 0.5
    smallest: Annotated[int, Field(ge=1)] = 4


class Drafter(Part):
    """A drafter: per task the survival curve S(1) … S(k_max) of the steps in which it proposes.

    `coverage` is the share of steps with a proposal, `streak` the chance that a token's luck is its predecessor's,
    `prompt_spread` how prompts of a task differ (sigma of the log exponent of S). Costs that are set replace those of
    the engine.
    """

    method: str
    coverage: Annotated[float, Field(gt=0, le=1)] = 1.0
    streak: Share = 0.3
    prompt_spread: Annotated[float, Field(ge=0)] = 0.25
    per_k_ms: Time | None = None
    per_draft_ms: Time | None = None
    idle_drafter_share: Share | None = None
    tasks: dict[str, tuple[Share, ...]]

    @model_validator(mode="after")
    def _falling(self) -> Self:
        for task, curve in self.tasks.items():
            if any(b > a for a, b in pairwise(curve)):
                raise ValueError(f"tasks.{task}: a survival curve cannot rise: {curve!r}")
        return self


class Calibration(Part):
    """One calibrated engine with its drafters."""

    name: str
    provenance: str
    step: Step
    prefill_per_token_ms: Time = 0.0
    max_running: Annotated[int, Field(ge=1)] = 256
    k_max: Annotated[int, Field(ge=1, le=32)] = 8
    output_tokens: Spread = Spread(mean=128)
    prompt_tokens: Spread = Spread(mean=300)
    temperature_factor: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    drafters: dict[str, Drafter]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that some drafter knows, in the file's order."""
        return tuple(dict.fromkeys(task for drafter in self.drafters.values() for task in drafter.tasks))


@dataclass(frozen=True, slots=True)
class Costs:
    """Step-time coefficients of one pool in seconds."""

    base_s: float
    per_request_s: float
    per_draft_s: float
    speculating_s: float
    per_k_s: float
    per_kv_token_s: float
    idle_share: float

    def step_s(self, batch: float, drafts: float, max_k: float, kv_tokens: float) -> float:
        """Seconds of one step of `batch` requests with `drafts` drafts in all."""
        time = self.base_s + self.per_request_s * batch + self.per_kv_token_s * kv_tokens
        if max_k > 0:
            return time + self.per_draft_s * drafts + self.speculating_s + self.per_k_s * max_k
        return time * (1 + self.idle_share)


def costs(calibration: Calibration, drafter: str | None) -> Costs:
    """The costs of a pool with this drafter (None: vanilla)."""
    step = calibration.step
    own = calibration.drafters[drafter] if drafter is not None else None
    idle = 0.0 if own is None else step.idle_drafter_share if own.idle_drafter_share is None else own.idle_drafter_share
    return Costs(
        step.base_ms / 1e3,
        step.per_request_ms / 1e3,
        (step.per_draft_ms if own is None or own.per_draft_ms is None else own.per_draft_ms) / 1e3,
        step.speculating_ms / 1e3,
        (step.per_k_ms if own is None or own.per_k_ms is None else own.per_k_ms) / 1e3,
        step.per_kv_token_ms / 1e3,
        idle,
    )


def load_calibration(name: str) -> Calibration:
    """Read a calibration by name (one of the shipped files) or path; ValueError names what is wrong."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise ValueError(f"calibration {name!r}: no such file (shipped: {shipped})")
    return validated(Calibration, _extended(read_mapping(path), path.parent), str(path))


def _extended(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A file may extend another of its folder: its fields win, its drafters are added."""
    base_name = data.pop("extends", None)
    if base_name is None:
        return data
    base = _extended(read_mapping(folder / f"{base_name}.yaml"), folder)
    return base | data | {"drafters": base["drafters"] | data.get("drafters", {})}
