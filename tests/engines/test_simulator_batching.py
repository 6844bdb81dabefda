"""Continuous batching: lockstep steps, slots, KV space, and what a step costs whom. Time is virtual throughout."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from engines.simulator.acceptance import Luck, tilted_curves
from engines.simulator.batching import Batch, Sequence
from engines.simulator.calibration import StepCost, TaskProfile
from engines.simulator.measurements import Timeline
from engines.simulator.outputs import OutputPlan
from engines.simulator.pacing import VirtualPace, WallPace
from engines.simulator.settings import SimulatorSettings

COST = StepCost(base_ms=10, per_token_ms=1, prefill_token_ms=0.5, drafter_ms=2, draft_ms=3)


class Scene:
    """A batch with sequences in it, stepped until all are out."""

    def __init__(self, **settings: Any) -> None:
        base = {"method": "draft_model", "max_model_len": 1000, "kv_capacity_tokens": 1000}
        self.batch = Batch(SimulatorSettings.model_validate(base | settings), COST, VirtualPace())
        self.seen: list[tuple[Sequence, int, int, float]] = []
        self._all: list[Sequence] = []

    def add(self, tokens: int = 5, k: int = 0, prompt_tokens: int = 4, h: float = 1.0) -> Sequence:
        """Queue one sequence whose drafts are accepted with probability `h` at every position."""
        profile = TaskProfile(h=(h,), prompt_spread=0, streak=0)
        sequence = Sequence(
            plan=OutputPlan(" abc" * tokens, tokens, "length"),
            prompt_tokens=prompt_tokens,
            k=k,
            luck=Luck(profile, tilted_curves(profile, 0.0, 4), Random(0)),
            on_tokens=lambda one, first, last: self.seen.append((one, first, last, self.batch.pace.now_s)),
            times=Timeline(self.batch.pace.clock_s()),
        )
        self._all.append(sequence)
        self.batch.submit(sequence)
        return sequence

    async def until(self, condition: Callable[[], bool]) -> None:
        """Step until the condition holds."""
        loop = asyncio.create_task(self.batch.run())
        for _ in range(10_000):
            if condition():
                break
            await asyncio.sleep(0)
        loop.cancel()
        assert condition()

    async def finish(self) -> None:
        """Step until every sequence is out or given up."""
        await self.until(lambda: all(one.finished or one.aborted for one in self._all))

    def chunks(self, sequence: Sequence) -> list[int]:
        """How many tokens the sequence got in each of its steps."""
        return [last - first for one, first, last, _ in self.seen if one is sequence]


async def test_a_request_gets_one_token_then_one_more_than_accepted() -> None:
    """Prefill gives one, each verify step 1 + accepted, the last is cut at the end of the output."""
    scene = Scene()
    sequence = scene.add(tokens=10, k=3)
    await scene.finish()
    assert scene.chunks(sequence) == [1, 4, 4, 1]
    assert sequence.steps.accepted == [3, 3, 3]


async def test_a_step_lasts_as_long_as_its_work() -> None:
    """10 + 2 for the drafter and 0.5 a prompt token, then 10 + 2 + (1 + k) verified + 3 a draft."""
    scene = Scene()
    sequence = scene.add(tokens=4, k=2, prompt_tokens=8)
    await scene.finish()
    times = sequence.times
    assert times.first_token_s - times.scheduled_s == pytest.approx(0.016)
    assert times.last_token_s - times.first_token_s == pytest.approx(0.021)


async def test_all_running_requests_step_together() -> None:
    """A k = 0 request pays for the drafts of its neighbour: lockstep."""
    scene = Scene()
    alone = scene.add(tokens=2, k=0)
    await scene.finish()
    beside, neighbour = scene.add(tokens=2, k=0), scene.add(tokens=5, k=4)
    await scene.finish()
    step = [one.times.last_token_s - one.times.first_token_s for one in (alone, beside, neighbour)]
    assert step == pytest.approx([0.013, 0.012 + 0.002 + 0.004 + 0.012, 0.012 + 0.002 + 0.004 + 0.012])


async def test_requests_beyond_the_slots_wait_their_turn() -> None:
    """First come, first served; waiting is queue time, not time to first token."""
    scene = Scene(max_num_seqs=1)
    first, second = scene.add(tokens=3), scene.add(tokens=3)
    await scene.until(lambda: first.produced == 2)
    assert (len(scene.batch.running), len(scene.batch.waiting)) == (1, 1)
    await scene.finish()
    assert second.times.scheduled_s == first.times.last_token_s
    assert second.times.queued_s < second.times.scheduled_s


async def test_requests_beyond_the_kv_space_wait() -> None:
    """Space is reserved for prompt and output, so nobody is preempted."""
    scene = Scene(kv_capacity_tokens=100, max_model_len=100)
    first, second = scene.add(tokens=40, prompt_tokens=20), scene.add(tokens=40, prompt_tokens=20)
    await scene.until(lambda: first.produced == 10)
    assert scene.batch.waiting[0] is second
    assert scene.batch.kv_usage == pytest.approx(0.3)
    await scene.finish()
    assert scene.batch.kv_usage == 0


async def test_one_step_takes_in_no_more_prompt_than_allowed() -> None:
    """The third prompt is prefilled a step later."""
    scene = Scene(max_prefill_tokens=10)
    prompts = [scene.add(prompt_tokens=5) for _ in range(3)]
    await scene.finish()
    starts = [one.times.scheduled_s for one in prompts]
    assert starts[0] == starts[1] < starts[2]


async def test_a_prompt_larger_than_the_budget_still_runs() -> None:
    """Otherwise it would wait for ever."""
    scene = Scene(max_prefill_tokens=10)
    long_one = scene.add(prompt_tokens=50)
    await scene.finish()
    assert long_one.finished


async def test_an_aborted_request_frees_its_slot_at_the_next_step() -> None:
    """Whoever waits runs instead, and the aborted one gets nothing more."""
    scene = Scene(max_num_seqs=1)
    first, second = scene.add(tokens=100), scene.add(tokens=3)
    await scene.until(lambda: first.produced == 5)
    scene.batch.abort(first)
    await scene.finish()
    assert first.produced == 5
    assert second.finished
    assert scene.batch.counts.finished == {"abort": 1, "length": 1}


async def test_an_aborted_request_that_waits_never_runs() -> None:
    """It leaves the queue without a slot."""
    scene = Scene(max_num_seqs=1)
    scene.add(tokens=20)
    waiting, last = scene.add(), scene.add(tokens=2)
    scene.batch.abort(waiting)
    await scene.finish()
    assert waiting.produced == 0
    assert last.finished


async def test_a_vanilla_engine_pays_no_drafter() -> None:
    """The same request without the 2 ms."""
    scene = Scene(method=None)
    sequence = scene.add(tokens=2)
    await scene.finish()
    assert sequence.times.last_token_s - sequence.times.first_token_s == pytest.approx(0.011)


async def test_a_slow_request_slows_its_batch() -> None:
    """The slowdown of one is everyone's, as with a noisy neighbour."""
    scene = Scene()
    slow, other = scene.add(tokens=2), scene.add(tokens=2)
    slow.slowdown = 5
    await scene.finish()
    assert other.times.last_token_s - other.times.first_token_s == pytest.approx(5 * 0.014)


async def test_counters_are_the_sum_of_the_requests() -> None:
    """What /metrics exports."""
    scene = Scene()
    sequences = [scene.add(tokens=30, k=k, h=0.5) for k in (0, 2, 4)]
    await scene.finish()
    counts = scene.batch.counts
    assert counts.generation_tokens == 90
    assert counts.prompt_tokens == 12
    assert counts.draft_tokens == sum(sum(one.steps.drafted) for one in sequences)
    assert sum(counts.accepted_per_position) == counts.accepted_tokens
    assert counts.accepted_tokens == sum(sum(one.steps.accepted) for one in sequences)


async def test_the_wall_clock_runs_at_its_scale() -> None:
    """Five steps of 40 simulated ms at scale 20 end 200 simulated ms later, give or take the timer."""
    pace = WallPace(20)
    pace.resume()
    start_s, clock_s = pace.now_s, pace.clock_s()
    for _ in range(5):
        await pace.wait(0.040)
    assert pace.now_s - start_s >= 0.2 - 1e-9
    assert pace.clock_s() - clock_s >= 0.2 - 20 * 0.001 * 5
