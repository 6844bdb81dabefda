"""One simulated engine, as given on the command line or in code."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SpecMetrics = Literal["none", "summary", "detailed"]


class SimulatorSettings(BaseModel):
    """What the engine serves and how it behaves.

    `method` None makes a vanilla engine. Replicas of one model must share `seed`, as replicas share weights: the text
    follows from it. `time_scale` 10 runs ten times faster than the calibration says while `metrics` still report the
    calibration's times; 0 does not wait at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="simulated", min_length=1)
    loras: tuple[str, ...] = Field(default=(), description="names of adapters that are served as the model is")
    method: str | None = None
    drafter: str | None = None
    k_max: int = Field(default=4, ge=0, le=64)
    calibration: str = "cpu-demo"
    seed: int = 0
    time_scale: float = Field(default=1.0, ge=0)
    burst_steps: int = Field(
        default=1,
        ge=1,
        description="at time_scale 0: steps run before anything is sent; more bundle their chunks",
    )
    max_num_seqs: int = Field(default=256, ge=1)
    max_model_len: int = Field(default=8192, ge=2)
    kv_capacity_tokens: int = Field(default=262_144, ge=2)
    max_prefill_tokens: int = Field(
        default=8192, ge=1, description="prompt tokens one step takes in, at least one prompt"
    )
    request_metrics: bool = Field(default=True, description="vLLM's --enable-per-request-metrics")
    spec_metrics: SpecMetrics = Field(default="detailed", description="vLLM's --per-request-spec-decode-metrics")
    api_key: str | None = Field(default=None, repr=False, description="or by environment: VLLM_API_KEY")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kv_capacity_tokens < self.max_model_len:
            raise ValueError(
                f"kv_capacity_tokens={self.kv_capacity_tokens!r} must be at least max_model_len={self.max_model_len!r}"
            )
        if self.speculative and not self.k_max:
            raise ValueError(f"k_max=0 leaves method={self.method!r} nothing to draft: give k_max >= 1, or no method")
        if self.drafter is not None and self.method is None:
            raise ValueError(f"drafter={self.drafter!r} needs a method, e.g. 'draft_model' or 'ngram'")
        return self

    @property
    def speculative(self) -> bool:
        """Whether the engine holds a drafter."""
        return self.method is not None
