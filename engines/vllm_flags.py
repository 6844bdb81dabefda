"""vLLM's flags: those that make its server an engine of this project, and how its parser reads those that are given."""

from collections.abc import Iterable, Sequence

METRICS_FLAG = "--enable-per-request-metrics"
DRAFTS_FLAG = "--per-request-spec-decode-metrics detailed"
SCHEDULER, ASYNC_SCHEDULER = "engines.vllm_scheduler.SpecKScheduler", "engines.vllm_scheduler.AsyncSpecKScheduler"
ASYNC, NO_ASYNC = "--async-scheduling", "--no-async-scheduling"
SCHEDULER_FLAGS = f"--scheduler-cls {ASYNC_SCHEDULER} (with {NO_ASYNC}: {SCHEDULER})"

SHORT = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-q": "--quantization",
    "-sc": "--speculative-config",
}
"""vLLM's short names of the flags that are looked for here."""


def flag_of(text: str) -> str:
    """The flag that an argument is, spelled in full dashes; what is no flag as it is.

    `--speculative_config.model=x` is --speculative-config: what follows a dot is a field of the flag's value.
    """
    name = text.partition("=")[0].partition(".")[0]
    if name.startswith("--"):
        return name.replace("_", "-")
    return next((flag for short, flag in SHORT.items() if name[1:] and short.startswith(name)), name)


def given(args: Iterable[str], flags: Iterable[str]) -> set[str]:
    """Which of the flags are among vLLM's arguments, abbreviated ones too."""
    return {flag for text in args for flag in flags if _means(text, flag)}


def argument(args: Sequence[str], flag: str) -> str | None:
    """The value of one of vLLM's flags, given as `--flag value` or `--flag=value`; None where it is not given."""
    value = None  # the last counts
    for place, text in enumerate(args):
        if _means(text, flag):
            _, equals, after = text.partition("=")
            value = after if equals else next(iter(args[place + 1 : place + 2]), None)
    return value


def _means(text: str, flag: str) -> bool:
    """vLLM's parser takes every beginning of a flag that is no other's; an ambiguous one it refuses itself."""
    name = flag_of(text)
    return bool(name.strip("-")) and flag.startswith(name)
