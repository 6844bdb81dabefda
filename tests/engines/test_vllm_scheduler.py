"""The schedulers that vLLM loads, driven step by step with a worker that accepts drafts at random."""

import random
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_pair import tiny_pair

pytest.importorskip("vllm", exc_type=ImportError)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from vllm.engine.arg_utils import EngineArgs
    from vllm.sampling_params import SamplingParams
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput
    from vllm.v1.request import Request
    from vllm.v1.structured_output import StructuredOutputManager

    from engines.vllm_scheduler import AsyncSpecKScheduler, SpecKScheduler

K_MAX = 4
BLOCK = 16
Scheduler = Any

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Job:
    """One request: its k as a client would send it, the k that must come of it, and its size in tokens."""

    asked: Any
    k: int
    prompt: int
    tokens: int
    arrives: int = 0


@dataclass
class Run:
    """What a scheduler did: drafts verified per step of each request, and tokens delivered."""

    drafted: dict[str, list[int]] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    preemptions: int = 0


@pytest.fixture(scope="module")
def make() -> Callable[..., Scheduler]:
    """A factory of schedulers for the tiny pair."""
    pair = tiny_pair()
    speculative = {"method": "draft_model", "model": str(pair.drafter), "num_speculative_tokens": K_MAX}
    arguments = EngineArgs(
        model=str(pair.target),
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=128,
        max_num_seqs=4,
        max_num_batched_tokens=48,
        speculative_config=speculative,
    )
    config = arguments.create_engine_config()
    config.cache_config.enable_prefix_caching = False

    def build(kind: type[Scheduler], blocks: int = 100, *, asynchronous: bool | None = None) -> Scheduler:
        chosen = kind is AsyncSpecKScheduler if asynchronous is None else asynchronous
        config.scheduler_config.async_scheduling = chosen
        config.cache_config.num_gpu_blocks = blocks
        spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=4, head_size=32, dtype=torch.float32)
        return kind(
            vllm_config=config,
            kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)]),
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK,
            log_stats=True,
        )

    return build


def serve(scheduler: Scheduler, jobs: list[Job], seed: int = 0) -> Run:
    """Run all jobs to their end, as vLLM's engine core does: one step at a time, or with a second one in flight."""
    asynchronous = isinstance(scheduler, AsyncSpecKScheduler)
    chance, run = random.Random(seed), Run()
    in_flight: deque[tuple[Any, ModelRunnerOutput]] = deque()
    waiting = [(job.arrives, f"{i}", job) for i, job in enumerate(jobs)]
    available: dict[str, int] = {}
    for step in range(2000):
        for _, name, job in (due := [w for w in waiting if w[0] <= step]):
            scheduler.add_request(_request(name, job))
        waiting = [w for w in waiting if w not in due]
        if scheduler.has_requests():
            output = scheduler.schedule()
            run.preemptions += len(output.preempted_req_ids or ())
            in_flight.append((output, _answer(scheduler, output, chance, run, available)))
        elif not in_flight:
            if not waiting:
                return run
            continue
        if len(in_flight) > asynchronous or not scheduler.has_requests():
            done, answer = in_flight.popleft()
            for outputs in scheduler.update_from_output(done, answer).values():
                for delivered in outputs.outputs:
                    name = delivered.request_id
                    run.delivered[name] = run.delivered.get(name, 0) + len(delivered.new_token_ids)
            if not asynchronous:
                _hand_over_drafts(scheduler, done)
    raise AssertionError(f"not done after 2000 steps: {scheduler.requests}")


def _request(name: str, job: Job) -> Request:
    extra = {} if job.asked is None else {"spec_k": job.asked}
    params = SamplingParams(max_tokens=job.tokens, ignore_eos=True, extra_args=extra or None)
    return Request(name, [5] * job.prompt, params, None)


def _answer(
    scheduler: Scheduler, output: Any, chance: random.Random, run: Run, available: dict[str, int]
) -> ModelRunnerOutput:
    """The worker's part of a step: verify some of the drafts, then draft for the next step."""
    names = list(output.num_scheduled_tokens)
    sampled: list[list[int]] = []
    for name in names:
        drafts = output.scheduled_spec_decode_tokens.get(name, [])
        if scheduler.requests[name].is_prefill_chunk:
            sampled.append([])
            continue
        if name in run.drafted:
            run.drafted[name].append(len(drafts))
        run.drafted.setdefault(name, [])  # the step that ends the prompt has none to verify
        assert len(drafts) <= available.get(name, 0), "a placeholder that no draft will fill"
        sampled.append([7] * (1 + chance.randint(0, len(drafts))))
    available.update(dict.fromkeys(names, output.num_spec_tokens_to_schedule))
    return ModelRunnerOutput(names, {name: i for i, name in enumerate(names)}, sampled)


def _hand_over_drafts(scheduler: Scheduler, output: Any) -> None:
    names = list(output.num_scheduled_tokens)
    drafts = [[9] * output.num_spec_tokens_to_schedule for _ in names]
    scheduler.update_draft_token_ids(DraftTokenIds(names, drafts))


BOTH = pytest.mark.parametrize("kind", [SpecKScheduler, AsyncSpecKScheduler])


@BOTH
def test_each_request_of_a_batch_drafts_its_own_k(make: Callable[..., Scheduler], kind: type[Scheduler]) -> None:
    """Requests of k = 0 … 4 in one batch each draft exactly their k in every decode step."""
    jobs = [Job(k, k, prompt=10, tokens=20) for k in (0, 1, 2, 4)]
    run = serve(make(kind), jobs)
    for i, job in enumerate(jobs):
        assert set(run.drafted[f"{i}"]) == {job.k}
        assert run.delivered[f"{i}"] == job.tokens


@BOTH
def test_drafter_is_asked_for_no_more_than_the_largest_k(make: Callable[..., Scheduler], kind: type[Scheduler]) -> None:
    """With k = 1 and 2 in the batch two drafts are made, with k = 0 alone none."""
    for ks, largest in (((1, 2), 2), ((0, 0), 0), ((3,), 3)):
        scheduler = make(kind)
        for i, k in enumerate(ks):
            scheduler.add_request(_request(f"{i}", Job(k, k, prompt=8, tokens=4)))
        assert scheduler.schedule().num_spec_tokens_to_schedule == largest


@BOTH
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=st.lists(
        st.builds(
            lambda k, prompt, tokens, arrives: Job(k, k, prompt, tokens, arrives),
            st.integers(0, K_MAX),
            st.integers(1, 60),
            st.integers(1, 40),
            st.integers(0, 12),
        ),
        min_size=1,
        max_size=7,
    ),
    blocks=st.sampled_from([100, 14]),
    seed=st.integers(0, 2**16),
)
def test_any_mix_of_k_is_served_whole(
    make: Callable[..., Scheduler], kind: type[Scheduler], jobs: list[Job], blocks: int, seed: int
) -> None:
    """Whatever the ks, lengths, arrivals, acceptance and memory: never more drafts than k, all tokens, no leak."""
    scheduler = make(kind, blocks)
    run = serve(scheduler, jobs, seed)
    for i, job in enumerate(jobs):
        assert run.delivered[f"{i}"] == job.tokens
        assert all(drafted <= job.k for drafted in run.drafted.get(f"{i}", []))
        if not run.preemptions:
            assert set(run.drafted[f"{i}"]) <= {job.k}
    assert scheduler.kv_cache_manager.usage == 0


def accounts(scheduler: Scheduler, jobs: list[Job], stop: list[str]) -> tuple[Run, list[Any]]:
    """Run jobs, the first with stop strings that never come: the accounts of its steps with each of its outputs."""
    told: list[Any] = []
    update = scheduler.update_from_output

    def noted(done: Any, answer: ModelRunnerOutput) -> Any:
        outputs = update(done, answer)
        for delivered in outputs[0].outputs if 0 in outputs else ():
            steps = delivered.spec_decode_metrics
            if delivered.request_id == "0":
                told.append(None if steps is None else (sum(steps.histogram), list(steps.per_step_drafted)))
            else:
                assert (steps is None) is (delivered.finish_reason is None)
        return outputs

    scheduler.spec_decode_metrics_level = "detailed"
    scheduler.update_from_output, add = noted, scheduler.add_request

    def stopping(request: Request) -> None:
        if request.request_id == "0":
            request.sampling_params.stop = stop
        add(request)

    scheduler.add_request = stopping
    return serve(scheduler, jobs), told


@BOTH
def test_the_steps_of_what_may_end_at_a_stop_string_are_told_with_every_output(
    make: Callable[..., Scheduler], kind: type[Scheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All so far, for any output may be the last; a neighbour's only at its end; too many as a summary."""
    jobs = [Job(2, 2, prompt=8, tokens=40), Job(3, 3, prompt=8, tokens=20)]
    run, told = accounts(make(kind), jobs, ["x"])
    drafted = run.drafted["0"]
    assert told == [(n, drafted[:n]) for n in range(len(told))]
    assert len(told) > 5
    monkeypatch.setattr("engines.vllm_scheduler.TOLD_STEPS", 4)
    _, told = accounts(make(kind), jobs, ["x"])
    assert [len(steps) for _, steps in told[:-1]] == [0, 1, 2, 3, 4, *[0] * (len(told) - 6)]
    assert [count for count, _ in told] == list(range(len(told)))


@pytest.mark.parametrize(
    ("asked", "k"),
    [
        *((None, 4), (-3, 0), (99, 4), (2.0, 2), (2.5, 4), ("2", 4), (float("nan"), 4), (float("inf"), 4)),
        *((True, 4), ([1], 4), ({}, 4), (2**63, 4), (-(2**63), 0)),
    ],
)
@BOTH
def test_what_is_no_k_never_stops_the_engine(
    make: Callable[..., Scheduler], kind: type[Scheduler], asked: Any, k: int
) -> None:
    """A missing or senseless k becomes the configured one, one out of range the nearest."""
    run = serve(make(kind), [Job(asked, k, prompt=8, tokens=12)])
    assert set(run.drafted["0"]) == {k}


@BOTH
def test_a_request_without_sampling_parameters_is_left_alone(
    make: Callable[..., Scheduler], kind: type[Scheduler]
) -> None:
    """Pooling requests have none."""
    request = _request("0", Job(1, 1, prompt=8, tokens=4))
    scheduler = make(kind)
    scheduler.add_request(request)
    request.sampling_params = None
    assert scheduler.schedule().num_spec_tokens_to_schedule == K_MAX


def test_the_wrong_kind_of_scheduling_is_refused(make: Callable[..., Scheduler]) -> None:
    """Placeholders nobody fills, or drafts nobody fetches, would corrupt output: the flag is named instead."""
    with pytest.raises(ValueError, match="SpecKScheduler needs --no-async-scheduling"):
        make(SpecKScheduler, asynchronous=True)
    with pytest.raises(ValueError, match="AsyncSpecKScheduler needs --async-scheduling"):
        make(AsyncSpecKScheduler, asynchronous=False)
