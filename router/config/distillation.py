"""Settings of what is kept to distil a new drafter from."""

from pathlib import Path

from pydantic import Field

from engines.pool import Part


class DistillationSettings(Part):
    """Prompts kept for a distillation set; `alpharoute distill collect` asks the target for their answers."""

    prompts: Path | None = Field(
        default=None,
        description="File that keeps sampled prompts of tasks whose acceptance fell; unset keeps none. They are "
        "personal data as your users typed them: choose who reads the file and for how long it stays. "
        "x-alpharoute-feedback: off keeps a request out.",
    )
    prompts_bytes: int = Field(
        default=64 * 1024 * 1024, ge=64 * 1024, description="When the file becomes NAME.1, replacing that one."
    )
    tasks: frozenset[str] = Field(
        default=frozenset(), description="Tasks to keep; unset: those that drifted within fell_within_s."
    )
    share: float = Field(default=0.05, gt=0, le=1, description="Share of the requests of these tasks that is kept.")
    fell_within_s: float = Field(default=86_400.0, gt=0, description="How long after a drift its task is kept.")
