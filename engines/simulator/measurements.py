"""What the engine counts: of itself (for /metrics) and of each request (the `metrics` of a response)."""

from collections import Counter
from dataclasses import dataclass, field

from engines.simulator.settings import SimulatorSettings


@dataclass(slots=True)
class VerifyCounts:
    """The verify steps of one request that had drafts; a step without drafts is no verify step, as in vLLM."""

    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Timeline:
    """When things happened to one request, in simulated seconds."""

    queued_s: float
    scheduled_s: float = 0.0
    first_token_s: float = 0.0
    last_token_s: float = 0.0


@dataclass(slots=True)
class EngineCounts:
    """Totals since the start."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    accepted_per_position: list[int] = field(default_factory=list)
    finished: Counter[str] = field(default_factory=Counter)
    steps: int = 0

    def observe_drafts(self, drafted: int, accepted: int) -> None:
        """One verify step of one request."""
        self.drafts += 1
        self.draft_tokens += drafted
        self.accepted_tokens += accepted
        for position in range(accepted):
            self.accepted_per_position[position] += 1


def timing_metrics(times: Timeline, output_tokens: int) -> dict[str, object]:
    """vLLM's five timing fields: queueing and prefill are not part of `generation_time_ms`."""
    generation_s = times.last_token_s - times.first_token_s
    inference_s = times.last_token_s - times.scheduled_s
    return {
        "time_to_first_token_ms": (times.first_token_s - times.scheduled_s) * 1000,
        "generation_time_ms": generation_s * 1000,
        "queue_time_ms": (times.scheduled_s - times.queued_s) * 1000,
        "mean_itl_ms": generation_s / (output_tokens - 1) * 1000 if output_tokens > 1 else None,
        "tokens_per_second": output_tokens / inference_s if inference_s > 0 else None,
    }


def speculation_metrics(counts: VerifyCounts, k_max: int, *, detailed: bool) -> dict[str, object]:
    """vLLM's `speculative_decoding` object; the per-step arrays are left out where no step had drafts."""
    steps, accepted, drafted = len(counts.drafted), sum(counts.accepted), sum(counts.drafted)
    histogram = [0] * (k_max + 1)
    for j in counts.accepted:
        histogram[j] += 1
    summary: dict[str, object] = {
        "mean_acceptance_length": 1 + accepted / steps if steps else 1.0,
        "draft_acceptance_rate": accepted / drafted if drafted else 0.0,
        "acceptance_histogram": histogram,
        "num_spec_steps": steps,
        "num_accepted_draft_tokens": accepted,
        "num_draft_tokens": drafted,
        "num_spec_tokens": k_max,
    }
    if detailed and steps:
        summary |= {"per_step_accepted": counts.accepted, "per_step_drafted": counts.drafted}
    return summary


def request_metrics(
    settings: SimulatorSettings, times: Timeline, output_tokens: int, counts: VerifyCounts
) -> dict[str, object] | None:
    """The `metrics` of a response, or None where the engine reports none."""
    metrics = timing_metrics(times, output_tokens) if settings.request_metrics else None
    if settings.speculative and settings.spec_metrics != "none":
        detailed = settings.spec_metrics == "detailed"
        metrics = metrics or {}
        metrics["speculative_decoding"] = speculation_metrics(counts, settings.k_max, detailed=detailed)
    return metrics
