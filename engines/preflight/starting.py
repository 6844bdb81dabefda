"""The check of a pool before its engine starts: what is certain refuses, the rest is told."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engines.pool import PoolSettings
from engines.preflight.errors import DamagedModelError, PreflightError
from engines.preflight.findings import Finding, Level
from engines.preflight.memory import Plan, Verdict
from engines.preflight.places import find_model
from engines.preflight.report import Report, Wanted, examine
from engines.preflight.shape import read_config, shape_of
from engines.vllm_command import max_running, runs_on_cpu
from engines.vllm_errors import EngineSettingsError

GIB = 1024**3
UNKNOWN_GPU = 1024 * GIB
"""Where no GPU can be asked for its memory, memory is not judged."""

CONTEXT = 4096

LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
"""vLLM's variable that makes it take a longer context than the model was made for."""


@dataclass(frozen=True, slots=True)
class StartCheck:
    """What preflight has to say of a pool: reasons that no engine could start, and what the operator should know."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def refuse_unfit(pool: PoolSettings) -> tuple[str, ...]:
    """The warnings for a pool of kind vllm; EngineSettingsError where it could not start, unless told to warn."""
    if pool.engine != "vllm" or pool.preflight == "off":
        return ()
    found = check_pool(pool, gpu_memory_bytes())
    if found.refusals and pool.preflight == "refuse":
        raise EngineSettingsError(f"pool {pool.name!r}: preflight: {found.refusals[0]}")
    return (*found.refusals, *found.warnings)


def check_pool(pool: PoolSettings, gpu_bytes: float | None) -> StartCheck:
    """Examine a pool's models on a machine whose smallest GPU has `gpu_bytes` (None: not known)."""
    try:
        plan = plan_of(pool, gpu_bytes)
        report = examine(wanted_of(pool), plan)
    except DamagedModelError as error:
        return StartCheck(refusals=(str(error),))
    except PreflightError as error:
        return StartCheck(warnings=(f"not checked: {error}",))
    judged = gpu_bytes is not None or plan.kv_cache_bytes is not None
    told = [finding for finding in report.findings if judged or finding.check != "memory"]
    if stretched(pool):
        told = [_warned(finding) if finding.check == "context" else finding for finding in told]
    return StartCheck(
        tuple(f"{finding.check}: {finding.text}" for finding in told if finding.level is Level.REFUSAL),
        (
            *(f"{finding.check}: {finding.text}" for finding in told if finding.level is Level.WARNING),
            *(_little_room(report, pool) if judged else ()),
        ),
    )


def stretched(pool: PoolSettings) -> bool:
    """Whether vLLM may take a longer context than config.json says: told so, or given other values for its fields."""
    overridden = any(text.startswith(("--hf-overrides", "--hf-config-path")) for text in pool.vllm.args)
    own = pool.vllm.env.get(LONGER)
    allowed = os.environ.get(LONGER, "") if own is None else own.get_secret_value()
    return overridden or allowed.lower() in ("1", "true")


def _warned(finding: Finding) -> Finding:
    return replace(finding, level=Level.WARNING) if finding.level is Level.REFUSAL else finding


def _little_room(report: Report, pool: PoolSettings) -> tuple[str, ...]:
    """Told where the drafter leaves room for less than half the requests that fit without it."""
    ours, alone, wanted = report.account.largest_batch, report.without.largest_batch, max_running(pool)
    if report.account.verdict is Verdict.NOT or ours >= wanted or 2 * ours > alone:
        return ()
    return (f"memory: {ours} requests at full context fit beside the drafter, {alone} without it",)


def wanted_of(pool: PoolSettings) -> Wanted:
    """What a pool's settings ask for."""
    options, args = pool.vllm.speculative, pool.vllm.args
    quantization = options.get("quantization")
    return Wanted(
        target=pool.target,
        draft=pool.drafter,
        method=pool.method,
        dtype=pool.vllm.dtype,
        quantization=_loaded_as(argument(args, "--quantization", "-q")),
        draft_quantization=_loaded_as(str(quantization) if quantization else None),
        heterogeneous=bool(options.get("use_heterogeneous_vocab")),
    )


def plan_of(pool: PoolSettings, gpu_bytes: float | None) -> Plan:
    """The plan a pool's settings and arguments make: at least one request of the full context must fit."""
    args, options, placement = pool.vllm.args, pool.vllm.speculative, pool.placement
    shape = shape_of(read_config(find_model(pool.target)))
    draft_parallel = options.get("draft_tensor_parallel_size")
    return Plan(
        gpu_bytes=gpu_bytes or UNKNOWN_GPU,
        batch=1,
        context=pool.vllm.max_model_len or shape.usual_context or CONTEXT,
        k=max(1, pool.k_max),
        tensor_parallel=int(argument(args, "--tensor-parallel-size", "-tp") or placement.tensor_parallel),
        pipeline_parallel=int(argument(args, "--pipeline-parallel-size", "-pp") or placement.pipeline_parallel),
        draft_tensor_parallel=int(draft_parallel) if isinstance(draft_parallel, int) else None,
        utilization=float(argument(args, "--gpu-memory-utilization") or 0.92),
        kv_dtype=argument(args, "--kv-cache-dtype") or "auto",
        draft_kv_dtype=str(options.get("kv_cache_dtype") or "auto"),
        step_tokens=int(argument(args, "--max-num-batched-tokens") or 0) or None,
        kv_cache_bytes=pool.vllm.kv_cache_gib * GIB if runs_on_cpu(pool) else None,
        max_num_seqs=max_running(pool),
    )


def argument(args: Sequence[str], *names: str) -> str | None:
    """The value of one of vLLM's arguments, given as `--name value` or `--name=value`; None where it is not given."""
    for place, text in enumerate(args):
        name, equals, value = text.partition("=")
        if name in names:
            return value if equals else next(iter(args[place + 1 : place + 2]), None)
    return None


def _loaded_as(quantization: str | None) -> str | None:
    """A quantization made while loading; others are the checkpoint's own, which says so itself."""
    from engines.preflight.quantization import ONLINE

    return quantization if quantization in ONLINE else None


def gpu_memory_bytes() -> float | None:
    """Memory of the smallest NVIDIA GPU this process may use, as the driver reports it; None where none answers."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        asked = subprocess.run(
            [*query, *(("-i", visible) if visible else ())], capture_output=True, text=True, timeout=20, check=True
        )
        return min(float(line) for line in asked.stdout.splitlines() if line.strip()) * 1024**2
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
