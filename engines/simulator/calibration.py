"""What a simulated engine costs and how well its drafter does: step times and acceptance per task, read from YAML."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FALLBACK_TASK = "other"
"""The profile of every task a calibration does not name."""

Rate = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]


class CalibrationError(ValueError):
    """A calibration that does not exist or does not fit; the message names the field."""


@dataclass(frozen=True, slots=True)
class StepWork:
    """What one step works on. `drafts` is summed over the batch, for each request verifies its own k, while drafting
    runs as long as the batch's largest k."""

    decoding: int
    drafts: int
    largest_k: int
    prefilling: int = 0
    prefill_tokens: int = 0
    kv_tokens: int = 0


class StepCost(BaseModel):
    """The time of one step in ms, linear in what the step works on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_ms: Milliseconds = 0.0
    per_sequence_ms: Milliseconds = 0.0
    per_token_ms: Milliseconds = Field(default=0.0, description="each token the target decodes or verifies")
    per_kv_token_ms: Milliseconds = Field(default=0.0, description="each token whose keys and values are read")
    prefill_token_ms: Milliseconds = 0.0
    drafter_ms: Milliseconds = Field(default=0.0, description="having a drafter at all, even at k = 0")
    draft_ms: Milliseconds = Field(default=0.0, description="each draft position up to the batch's largest k")
    draft_per_sequence_ms: Milliseconds = Field(default=0.0, description="each draft of each sequence")

    def step_ms(self, work: StepWork, *, speculative: bool) -> float:
        """T of one step; `speculative` says whether the engine holds a drafter."""
        return (
            self.base_ms
            + self.per_sequence_ms * (work.decoding + work.prefilling)
            + self.per_token_ms * (work.decoding + work.drafts)
            + self.per_kv_token_ms * work.kv_tokens
            + self.prefill_token_ms * work.prefill_tokens
            + self.drafter_ms * speculative
            + self.draft_ms * work.largest_k
            + self.draft_per_sequence_ms * work.drafts
        )


class TaskProfile(BaseModel):
    """How one task's outputs behave: conditional acceptance by draft position, its spread, and output lengths.

    `h` is P(draft i accepted | drafts before it were) at temperature 0, `sampled_h` at temperature 1 (between, linear);
    the last entry holds for every later position.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    h: tuple[Rate, ...] = Field(min_length=1)
    sampled_h: tuple[Rate, ...] | None = None
    proposal_rate: Rate = Field(default=1.0, description="share of steps in which the drafter proposes at all")
    streak: Rate = Field(default=0.5, description="how much worse the hard stretches of an output are")
    streak_steps: float = Field(default=4.0, ge=1, description="mean length of a hard stretch, in verify steps")
    prompt_spread: Rate = Field(default=0.5, description="how much prompts of the task differ")
    mean_tokens: float = Field(default=128.0, ge=1)
    tokens_sigma: float = Field(default=0.6, ge=0, description="sigma of the lognormal output length")

    def h_at(self, position: int, temperature: float, scale: float = 1.0) -> float:
        """Conditional acceptance at draft `position` (1-based); `scale` multiplies it, for drift on demand."""
        greedy = self.h[min(position, len(self.h)) - 1]
        sampled_h = self.sampled_h or self.h
        sampled = sampled_h[min(position, len(sampled_h)) - 1]
        return min(1.0, scale * (greedy + min(temperature, 1.0) * (sampled - greedy)))


class Calibration(BaseModel):
    """One engine: its step cost and its drafter's acceptance on every task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(description="where the figures come from")
    cost: StepCost
    tasks: dict[str, TaskProfile]

    @model_validator(mode="after")
    def _has_a_fallback(self) -> Self:
        if FALLBACK_TASK not in self.tasks:
            raise ValueError(
                f"tasks must hold {FALLBACK_TASK!r}, the profile of tasks not named: {sorted(self.tasks)!r}"
            )
        return self

    def profile(self, task: str) -> TaskProfile:
        """The profile of `task`, or the fallback's."""
        return self.tasks.get(task) or self.tasks[FALLBACK_TASK]


def shipped_calibrations() -> list[str]:
    """Names that `load_calibration` knows without a file."""
    folder = resources.files(__package__) / "calibrations"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_calibration(name_or_path: str) -> Calibration:
    """A shipped calibration by name, or one from a YAML file; `CalibrationError` says what does not fit."""
    try:
        return Calibration.model_validate(yaml.safe_load(_read(name_or_path)))
    except (ValidationError, yaml.YAMLError) as error:
        raise CalibrationError(f"calibration {name_or_path!r} does not fit: {error}") from error


def _read(name_or_path: str) -> str:
    if name_or_path in shipped_calibrations():
        return (resources.files(__package__) / "calibrations" / f"{name_or_path}.yaml").read_text()
    try:
        return Path(name_or_path).read_text()
    except OSError as error:
        raise CalibrationError(
            f"calibration {name_or_path!r} is neither a readable file nor one of {shipped_calibrations()}: {error}"
        ) from error
