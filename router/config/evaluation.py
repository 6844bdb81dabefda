"""Settings of the probes that keep the acceptance of tasks with little traffic fresh."""

from pathlib import Path

from pydantic import Field

from engines.pool import Part


class EvaluationSettings(Part):
    """A few prompts of each task, sent to each speculative pool in the background; off unless `every_h` is set."""

    every_h: float | None = Field(default=None, gt=0, description="Hours between rounds; unset: none.")
    prompts: Path | None = Field(
        default=None,
        description='JSON lines of {"task", "prompt"}; unset: the demo\'s for the model demo, else the project\'s own.',
    )
    per_task: int = Field(default=4, ge=1, description="Prompts of a task in a round.")
    below_requests: float = Field(
        default=20.0, gt=0, description="Tasks are probed whose belief stands on fewer requests (old ones fade)."
    )
    tokens: int = Field(default=160, ge=8, description="Longest answer.")
    temperature: float = Field(default=0.0, ge=0, le=2, description="Temperature of the probes: each class has an α.")
