"""The engine contract: what the router adds to a request and what it reads from the answer.

Anything that accepts these fields and returns this `metrics` object is an engine: vLLM with
`--enable-per-request-metrics` (and, when it speculates, `--per-request-spec-decode-metrics detailed`
and the scheduler of `engines.vllm_scheduler`), or the simulator.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from policies.quick import quick

SPEC_K = "spec_k"
"""Key inside the request's `vllm_xargs` that holds k, the drafts asked per verify step (0 … k_max)."""

SPEC_TASK = "spec_task"
"""Key beside it that names the request's task, for drafters that learn from past answers of it."""


def requested_k(xargs: Mapping[str, object] | None, k_max: int) -> int:
    """The k a request's `vllm_xargs` ask for, clamped to 0 … `k_max`; `k_max` where they ask for no whole number.

    Never raises: what it would raise inside an engine would take down every request there.
    """
    value = xargs.get(SPEC_K) if xargs else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return k_max
    return max(0, min(value, k_max))


def requested_task(xargs: Mapping[str, object] | None) -> str:
    """The task that a request's `vllm_xargs` name, cut to 64 characters; "" where they name none."""
    value = xargs.get(SPEC_TASK) if xargs else None
    return value[:64] if isinstance(value, str) else ""


@quick
@dataclass(frozen=True, slots=True)
class VerifySteps:
    """What happened in each verify step of one request; both tuples have one entry per step that drafted.

    The last step counts all it accepted, also what was then cut off at the end of the output.
    """

    drafted: tuple[int, ...]
    accepted: tuple[int, ...]


@quick
@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """The engine's own account of one finished request.

    `steps` is empty where the engine says that it drafted nothing (k = 0), and None where it says nothing of drafts:
    a vanilla engine, one by URL that reports summaries, or an answer of over 512 steps that ended at a stop string.
    `generation_ms` spans the first to the last token, `time_to_first_token_ms` leaves out `queue_ms`.
    """

    output_tokens: int
    time_to_first_token_ms: float
    generation_ms: float
    queue_ms: float
    steps: VerifySteps | None
    prompt_tokens: int = 0


def parse_metrics(body: Mapping[str, object]) -> EngineMetrics | None:
    """The metrics of a decoded response body or last stream chunk; None where it carries none or they do not fit.

    An engine by URL may be a version or a server that reports nothing: that costs a sample, never a request.
    """
    metrics, usage = body.get("metrics"), body.get("usage")
    if not isinstance(metrics, Mapping) or not isinstance(usage, Mapping):
        return None
    try:
        return EngineMetrics(
            output_tokens=int(usage["completion_tokens"]),
            time_to_first_token_ms=float(metrics["time_to_first_token_ms"]),
            generation_ms=float(metrics["generation_time_ms"]),
            queue_ms=float(metrics.get("queue_time_ms") or 0.0),
            steps=_verify_steps(metrics.get("speculative_decoding")),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _verify_steps(speculative: object) -> VerifySteps | None:
    if not isinstance(speculative, Mapping):
        return None
    if not speculative["num_spec_steps"]:
        return VerifySteps((), ())
    if not speculative.get("per_step_drafted"):
        return None  # an engine by URL that reports summaries only
    drafted = tuple(int(k) for k in speculative["per_step_drafted"])
    accepted = tuple(int(j) for j in speculative["per_step_accepted"])
    if len(drafted) != len(accepted) or any(not 0 <= j <= k for j, k in zip(accepted, drafted, strict=True)):
        raise ValueError("per_step_accepted does not fit per_step_drafted")
    return VerifySteps(drafted, accepted)
