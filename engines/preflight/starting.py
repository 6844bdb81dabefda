"""The check of a pool before its engine starts: what is certain refuses, the rest is told."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engines.pool import PoolSettings
from engines.preflight.errors import DamagedModelError, PreflightError
from engines.preflight.findings import Finding, Level
from engines.preflight.memory import Plan, Verdict
from engines.preflight.places import find_model
from engines.preflight.quantization import ONLINE
from engines.preflight.report import Report, Wanted, examine
from engines.preflight.shape import read_config, shape_of
from engines.vllm_command import max_running, runs_on_cpu
from engines.vllm_errors import EngineSettingsError
from engines.vllm_flags import argument, flag_of, given

GIB = 1024**3
UNKNOWN_GPU = 1024 * GIB
"""Where no GPU can be asked for its memory, memory is not judged."""

CONTEXT = 4096

LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
"""vLLM's variable that makes it take a longer context than the model was made for."""

OFFLOADS = ("--cpu-offload-gb", "--offload-group-size")
"""Flags that make vLLM keep weights in the host's memory."""

MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
"""What vLLM reads behind a number."""


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
    if lightened(pool, report):
        told = [_warned(finding) if finding.check == "memory" else finding for finding in told]
    return StartCheck(
        tuple(f"{finding.check}: {finding.text}" for finding in told if finding.level is Level.REFUSAL),
        (
            *(f"{finding.check}: {finding.text}" for finding in told if finding.level is Level.WARNING),
            *(_little_room(report, pool) if judged else ()),
        ),
    )


def stretched(pool: PoolSettings) -> bool:
    """Whether vLLM may take a longer context than config.json says: told so, or given other values for its fields."""
    overridden = given(pool.vllm.args, ("--hf-overrides", "--hf-config-path"))
    own = pool.vllm.env.get(LONGER)
    allowed = os.environ.get(LONGER, "") if own is None else own.get_secret_value()
    return bool(overridden) or allowed.lower() in ("1", "true")


def lightened(pool: PoolSettings, report: Report) -> bool:
    """Whether vLLM is told to keep some of the weights elsewhere, or to quantize them in a way not counted here."""
    args, draft = pool.vllm.args, report.draft
    unknown = report.target.quantization is None and argument(args, "--quantization") is not None
    unknown |= draft is not None and draft.quantization is None and bool(pool.vllm.speculative.get("quantization"))
    # Not by `given`: --quantization is another flag, and the beginning of this one.
    return unknown or bool(given(args, OFFLOADS)) or "--quantization-config" in map(flag_of, args)


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
        quantization=_loaded_as(argument(args, "--quantization")),
        draft_quantization=_loaded_as(str(quantization) if quantization else None),
        heterogeneous=bool(options.get("use_heterogeneous_vocab")),
    )


def plan_of(pool: PoolSettings, gpu_bytes: float | None) -> Plan:
    """The plan a pool's settings and arguments make: at least one request of the full context must fit.

    PreflightError where an argument that must be a number is none.
    """
    args, options, placement = pool.vllm.args, pool.vllm.speculative, pool.placement
    shape = shape_of(read_config(find_model(pool.target)))
    draft_parallel = options.get("draft_tensor_parallel_size")
    return Plan(
        gpu_bytes=gpu_bytes or UNKNOWN_GPU,
        batch=1,
        context=pool.vllm.max_model_len or shape.usual_context or CONTEXT,
        k=max(1, pool.k_max),
        tensor_parallel=int(_number(args, "--tensor-parallel-size") or placement.tensor_parallel),
        pipeline_parallel=int(_number(args, "--pipeline-parallel-size") or placement.pipeline_parallel),
        draft_tensor_parallel=int(draft_parallel) if isinstance(draft_parallel, int) else None,
        utilization=_number(args, "--gpu-memory-utilization") or 0.92,
        kv_dtype=argument(args, "--kv-cache-dtype") or "auto",
        draft_kv_dtype=str(options.get("kv_cache_dtype") or "auto"),
        step_tokens=int(_number(args, "--max-num-batched-tokens")) or None,
        kv_cache_bytes=pool.vllm.kv_cache_gib * GIB if runs_on_cpu(pool) else None,
        max_num_seqs=max_running(pool),
    )


def _number(args: Sequence[str], flag: str) -> float:
    """A flag's number as vLLM reads it, 8k as 8,000 and 8K as 8,192; 0 where it is not given."""
    text = argument(args, flag)
    if text is None:
        return 0.0
    found = re.fullmatch(r"(\d{1,15}(?:\.\d*)?|\.\d+)([kmgtKMGT]?)", text.strip(), re.ASCII)
    if found is None:
        raise PreflightError(f"vllm.args: {flag} is {text!r}, it must be a number")
    return float(found[1]) * MULTIPLES[found[2]]


def _loaded_as(quantization: str | None) -> str | None:
    """A quantization made while loading; others are the checkpoint's own, which says so itself."""
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
