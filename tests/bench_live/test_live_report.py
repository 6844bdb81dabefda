"""bench.live: the same prompts for every arm, and figures that compare like with like."""

import random

import pytest

from bench.live.arms import OURS, Hit
from bench.live.plan import Shot, plan
from bench.live.report import paired_ratio, settled, summary
from engines.demo.workload import ExampleRequest

EXAMPLES = [ExampleRequest(task, f"{task} {i}", 32) for task in ("sql_generation", "translation") for i in range(3)]


def _hits(arm: str, times_ms: list[float], k: int = 0) -> list[Hit]:
    shots = [Shot(i, "sql_generation", "p", 32, 0.0, i) for i in range(len(times_ms))]
    return [
        Hit(arm, shot, "sql_generation", "draft" if k else "vanilla", k, "fastest", 10, 10 * ms)
        for shot, ms in zip(shots, times_ms, strict=True)
    ]


def test_a_plan_has_every_task_at_every_temperature_in_each_round() -> None:
    """Rounds are balanced, so that no task's luck decides; the same seed gives the same plan."""
    shots = list(plan(EXAMPLES, rounds=3, temperatures=[0, 1], seed=7))
    for number in range(3):
        kinds = sorted((shot.task, shot.temperature) for shot in shots if shot.round == number)
        assert kinds == [(task, t) for task in ("sql_generation", "translation") for t in (0, 1)]
    assert shots == list(plan(EXAMPLES, rounds=3, temperatures=[0, 1], seed=7))


def test_the_ratio_is_of_means_and_its_interval_pairs_prompts() -> None:
    """Half the time on every prompt is .5 exactly, however much prompts differ."""
    draws = random.Random(1)
    theirs = [draws.uniform(5, 50) for _ in range(40)]
    ratio = paired_ratio(_hits(OURS, [ms / 2 for ms in theirs]), _hits("other", theirs))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_covers_one_where_nothing_differs() -> None:
    """Noise around equal means is called a gain about once in twenty times."""
    covered = 0
    for seed in range(20):
        draws = random.Random(seed)
        ours, theirs = ([draws.gauss(20, 4) for _ in range(60)] for _ in range(2))
        ratio = paired_ratio(_hits(OURS, ours), _hits("other", theirs))
        covered += ratio.low < 1 < ratio.high
    assert covered >= 16


def test_where_ours_ended_is_read_from_the_last_third() -> None:
    """What was tried while learning does not count."""
    assert settled([*_hits(OURS, [20.0] * 6), *_hits(OURS, [10.0] * 3, k=4)]) == "draft k=4 (3/3)"


def test_the_summary_has_every_arm() -> None:
    """Means, ratios and each request."""
    hits = [*_hits("always vanilla", [20.0, 20.0]), *_hits(OURS, [10.0, 10.0], k=4)]
    result = summary(hits, ["always vanilla", OURS])
    assert result["mean_ms_per_token"] == {"always vanilla": 20.0, OURS: 10.0}
    assert result["requests"] == hits
