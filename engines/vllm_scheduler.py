"""The scheduler that vLLM loads with `--scheduler-cls`: k per request, from `vllm_xargs.spec_k`.

vLLM drafts the configured `num_speculative_tokens` for every request of a batch. Two hooks of its scheduler are
enough to make that number per request, without a fork: the drafts that come back are cut to each request's k, and
the drafter is asked for no more than the largest k in the batch (`SchedulerOutput.num_spec_tokens_to_schedule`).
Under asynchronous scheduling drafts never come back; their placeholders are sized instead.

A third tells the verify steps of answers that end at a stop string: vLLM finds these outside its core, which keeps its
account of the steps for an end that it never sees.
"""

from dataclasses import replace
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
from vllm.v1.request import Request

from engines.contract import requested_k
from engines.vllm_version import check_internals

check_internals()

VARIABLE_DRAFTERS = frozenset({"ngram", "draft_model", "eagle", "eagle3", "mtp"})
"""Methods whose proposer takes fewer drafts than configured; the others (0.32's suffix, medusa and ngram_gpu assert
equality, parallel drafters reshape by the configured count) keep drafting all of them and are only cut."""

TOLD_STEPS = 512
"""Verify steps up to which a request that may end at a stop string tells each of them with every output; a longer one
tells their summary, of which nothing is learnt: what an output carries must not grow with the answer."""


class SpecKScheduler(Scheduler):  # type: ignore[misc]  # vLLM is not type-checked here
    """vLLM's synchronous scheduler with k per request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _require_scheduling(self, asynchronous=False)
        self.drafts_vary = _prepare(self)

    def update_draft_token_ids(self, draft_token_ids: DraftTokenIds) -> None:
        """Take each request's new drafts, no more than its k."""
        drafts = (
            tokens[: _request_k(self.requests.get(req_id), self.num_spec_tokens)]
            for req_id, tokens in zip(draft_token_ids.req_ids, draft_token_ids.draft_token_ids, strict=True)
        )
        super().update_draft_token_ids(DraftTokenIds(draft_token_ids.req_ids, list(drafts)))

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """What the engine core says of a step, with the account of requests that may end at a stop string."""
        return _tell_steps(self, super().update_from_output(scheduler_output, model_runner_output))

    def _update_after_schedule(self, scheduler_output: SchedulerOutput) -> None:
        super()._update_after_schedule(scheduler_output)
        if self.drafts_vary:
            scheduler_output.num_spec_tokens_to_schedule = _largest_k(self, scheduler_output)


class AsyncSpecKScheduler(AsyncScheduler):  # type: ignore[misc]  # as above
    """vLLM's asynchronous scheduler (the default on GPUs) with k per request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _require_scheduling(self, asynchronous=True)
        self.drafts_vary = _prepare(self)
        # Shared and read-only, like the base class's single list: the worker replaces placeholders in its own copy.
        self._placeholders = tuple([-1] * k for k in range(self.num_spec_tokens + 1))

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """What the engine core says of a step, with the account of requests that may end at a stop string."""
        return _tell_steps(self, super().update_from_output(scheduler_output, model_runner_output))

    def _update_after_schedule(self, scheduler_output: SchedulerOutput) -> None:
        super()._update_after_schedule(scheduler_output)
        for req_id in scheduler_output.num_scheduled_tokens:
            request = self.requests[req_id]
            if not request.is_prefill_chunk:
                request.spec_token_ids = self._placeholders[_request_k(request, self.num_spec_tokens)]
        # The drafter runs at the end of this step for the next one, so it must fill the longest placeholder just set.
        if self.drafts_vary:
            scheduler_output.num_spec_tokens_to_schedule = _largest_k(self, scheduler_output)


def _tell_steps(scheduler: Scheduler, outputs: dict[int, EngineCoreOutputs]) -> dict[int, EngineCoreOutputs]:
    """Attach the account so far to what each unfinished request with stop strings puts out: any may be its last."""
    for batch in outputs.values():
        for output in batch.outputs:
            request = scheduler.requests.get(output.request_id)
            if request is None or output.finish_reason is not None:
                continue
            if request.sampling_params is not None and request.sampling_params.stop:
                told = request.spec_decode_metrics
                if told is not None and len(told.per_step_drafted) > TOLD_STEPS:
                    told = replace(told, per_step_drafted=[], per_step_accepted=[])
                output.spec_decode_metrics = told
    return outputs


def _request_k(request: Request | None, k_max: int) -> int:
    params = request.sampling_params if request is not None else None
    return requested_k(params.extra_args if params is not None else None, k_max)


def _largest_k(scheduler: Scheduler, scheduler_output: SchedulerOutput) -> int:
    """The largest k among the requests of this step that will decode next (a prefill chunk's drafts are dropped)."""
    requests = (scheduler.requests[req_id] for req_id in scheduler_output.num_scheduled_tokens)
    return max(
        (_request_k(request, scheduler.num_spec_tokens) for request in requests if not request.is_prefill_chunk),
        default=0,
    )


def _prepare(scheduler: Scheduler) -> bool:
    """Stop the base class from padding drafts; whether the drafter may be asked for fewer than configured.

    To keep a batch uniform the base class schedules a request whose prompt is all but one token cached with
    `num_spec_tokens` padding drafts, whatever its k, and counts them as drafted and rejected. A batch with k per
    request is not uniform anyway. The padding is off where a lookup by batch size exists, so a constant one is put.
    """
    k_max = scheduler.num_spec_tokens
    scheduler.dynamic_sd_lookup = [k_max] * (scheduler.scheduler_config.max_num_seqs + 1)
    spec = scheduler.vllm_config.speculative_config
    # Data-parallel ranks must run their drafters in lockstep (vLLM refuses its own dynamic counts there too).
    alone = scheduler.parallel_config.data_parallel_size == 1
    return alone and spec is not None and spec.method in VARIABLE_DRAFTERS and not spec.parallel_drafting


def _require_scheduling(scheduler: Scheduler, *, asynchronous: bool) -> None:
    if bool(scheduler.scheduler_config.async_scheduling) is asynchronous:
        return
    flag = "--async-scheduling" if asynchronous else "--no-async-scheduling"
    raise ValueError(
        f"{type(scheduler).__name__} needs {flag}: got async_scheduling={scheduler.scheduler_config.async_scheduling!r}"
    )
