"""Where the GPUs of a replica are: on one node, or on several through Ray."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engines.vllm_flags import given

Executor = Literal["local", "ray"]


class Placement(BaseModel):
    """How a replica's engine is spread over GPUs, and which nodes it may lie on.

    `local`: vLLM's own processes on one node; Serve reserves all of the replica's GPUs there as one placement group.
    `ray`: vLLM's Ray executor reserves a bundle per GPU itself, on as many nodes as it takes; Serve reserves none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensor_parallel: int = Field(default=1, ge=1, le=64, description="GPUs that share each layer.")
    pipeline_parallel: int = Field(default=1, ge=1, le=64, description="Stages that share the layers.")
    executor: Executor = Field(default="local", description="local: one node. ray: several, by vLLM's Ray executor.")
    resources: dict[str, float] = Field(
        default_factory=dict, description="Further Ray resources of a replica: {'accelerator_type:H100': 0.001}."
    )

    @property
    def gpus(self) -> int:
        """GPUs of one replica's engine."""
        return self.tensor_parallel * self.pipeline_parallel

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if odd := [name for name, amount in self.resources.items() if amount <= 0 or name in ("CPU", "GPU")]:
            raise ValueError(f"resources: {odd[0]!r} must be above 0, and cpus and gpus have settings of their own")
        return self


class Autoscaling(BaseModel):
    """How many replicas a pool has as its load changes; Ray Serve carries it out (see `engines.autoscaling`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_replicas: int | None = Field(
        default=None,
        ge=1,
        description="Most replicas; the pool's replicas are the fewest. Unset: their number is fixed.",
    )
    target_requests: float = Field(default=32.0, gt=0, description="Requests running and waiting for each replica.")
    up_delay_s: float = Field(default=30.0, ge=0, description="How long the load must be higher before one is added.")
    down_delay_s: float = Field(default=600.0, ge=0, description="How long it must be lower before one is taken.")
    idle_s: float | None = Field(
        default=None,
        ge=0,
        description="How long a pool must be idle before its last replica ends too; it comes back when requests would "
        "choose it for `up_delay_s`. Unset: it keeps its `replicas`.",
    )
    idle_requests: float = Field(
        default=0.1,
        ge=0,
        description="Requests running and waiting, in the mean, at which a pool is idle; twice as many call it back.",
    )

    @property
    def fixed(self) -> bool:
        """Whether the number of replicas never changes."""
        return self.max_replicas is None and self.idle_s is None


FLAGS = {
    "tensor_parallel": "--tensor-parallel-size",
    "pipeline_parallel": "--pipeline-parallel-size",
    "executor": "--distributed-executor-backend",
}
"""vLLM's arguments that follow from a placement."""


def placement_arguments(placement: Placement) -> tuple[str, ...]:
    """What vLLM is told of a placement; nothing where one GPU or none serves."""
    given = (
        (FLAGS["tensor_parallel"], placement.tensor_parallel, placement.tensor_parallel > 1),
        (FLAGS["pipeline_parallel"], placement.pipeline_parallel, placement.pipeline_parallel > 1),
        (FLAGS["executor"], "ray" if placement.executor == "ray" else "mp", placement != Placement()),
    )
    wanted = [(flag, str(value)) for flag, value, said in given if said]
    return tuple(text for pair in wanted for text in pair) if placement.gpus > 1 or placement.executor == "ray" else ()


def placement_problem(
    placement: Placement, gpus: float, args: Sequence[str], speculative: Mapping[str, object], device: str
) -> str | None:
    """What contradicts what in a pool's placement, its GPUs and its arguments, in words; None if nothing."""
    twice = sorted(given(args, FLAGS.values()))
    spread = placement.gpus > 1 or placement.executor == "ray"
    if spread and twice:
        return f"vllm.args holds {twice[0]}, and so does placement: leave it out of the arguments"
    if spread and device == "cpu":
        return f"placement asks for {placement.gpus} GPUs, vllm.device is 'cpu'"
    if placement.executor == "ray" and gpus:
        return f"gpus must be 0 with placement.executor 'ray', which reserves {placement.gpus} itself; it is {gpus!r}"
    if placement.gpus > 1 and placement.executor == "local" and gpus not in (0, placement.gpus):
        return f"gpus must be tensor_parallel times pipeline_parallel, {placement.gpus}; it is {gpus!r}"
    drafts = speculative.get("draft_tensor_parallel_size")
    if drafts is not None and placement.gpus > 1 and drafts not in (1, placement.tensor_parallel):
        return f"draft_tensor_parallel_size must be 1 or {placement.tensor_parallel}; it is {drafts!r}"
    return None
