"""Evaluating an engine: what is asked in which order, and figures that can be computed by hand."""

from math import inf

import numpy as np
import pytest

from engines.contract import EngineMetrics, VerifySteps
from engines.engine_client import EngineClient
from engines.evaluation import Plan, Prompt, Target, requests_of
from engines.evaluation_advice import Advice, Times, advise
from engines.evaluation_figures import Row, change, row, task_figures
from engines.evaluation_intervals import Interval, interval


def target(name: str, *, vanilla: bool = False) -> Target:
    """An engine that is never asked."""
    return Target(name, EngineClient.__new__(EngineClient), vanilla)


def prompts(count: int) -> tuple[Prompt, ...]:
    """So many prompts of two tasks in turn."""
    return tuple(Prompt(("sql", "poem")[i % 2], f"prompt {i}", 32) for i in range(count))


def answer(task: str, prompt: int, k: int, accepted: tuple[int, ...], step_ms: float, engine: str = "drafter") -> Row:
    """An answer whose every step drafted k and accepted so many, and took `step_ms`."""
    tokens = 1 + len(accepted) + sum(accepted)
    steps = VerifySteps((k,) * len(accepted), accepted) if k else VerifySteps((), ())
    metrics = EngineMetrics(tokens, 5.0, step_ms * len(accepted), 0.0, steps)
    return row(engine, task, prompt, k, 0, metrics)


def test_every_prompt_meets_every_k_on_every_engine_in_each_round() -> None:
    """The rounds hold the same requests in different orders, a vanilla engine gets k = 0 alone."""
    plan = Plan(prompts(6), ks=(0, 2), rounds=2)
    rounds = requests_of(plan, [target("a"), target("b"), target("v", vanilla=True)])
    asked = [sorted((place, one.name, k) for place, one, k in order) for order in rounds]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 6 * (2 + 2 + 1)
    assert rounds[0] != rounds[1]


def test_once_deals_the_prompts_of_each_task_among_the_k() -> None:
    """No engine is asked a prompt twice, each k gets its share of each task, the vanilla engine gets all."""
    plan = Plan(prompts(12), ks=(1, 2, 4), rounds=1, once=True)
    (order,) = requests_of(plan, [target("a"), target("v", vanilla=True)])
    mine = [(place, k) for place, one, k in order if one.name == "a"]
    assert sorted(place for place, _ in mine) == list(range(12))
    assert {(plan.prompts[place].task, k) for place, k in mine} == {(t, k) for t in ("sql", "poem") for k in (1, 2, 4)}
    assert sum(one.vanilla for _, one, _ in order) == 12


def test_figures_are_those_one_computes_by_hand() -> None:
    """Two drafts a step, one accepted in each: α is one half, S = 1, 0; two tokens a step that takes half as long."""
    rows = [answer("sql", i, 0, (0,) * 10, 10.0) for i in range(4)]
    rows += [answer("sql", i, 2, (1,) * 5, 12.0) for i in range(4)]
    found = task_figures(rows, "drafter", "sql", "drafter")
    two = found.by_k[2]
    assert two.alpha == Interval(0.5, 0.5, 0.5)
    assert [one.value for one in two.survival] == [1.0, 0.0]
    assert two.length == Interval(2.0, 2.0, 2.0)
    assert two.tpot_ms == Interval(6.0, 6.0, 6.0)
    assert two.ratio == Interval(0.6, 0.6, 0.6)
    assert two.coverage == 1.0
    assert (found.advice.speculate, found.advice.k) == ("on", 2)


def test_a_short_draft_is_censored_not_failed() -> None:
    """Positions that were never drafted are no rejections: of two steps with one draft each, all were accepted."""
    metrics = EngineMetrics(5, 5.0, 20.0, 0.0, VerifySteps((1, 1), (1, 1)))
    one = row("drafter", "sql", 0, 4, 0, metrics)
    assert (one.s, one.e) == ((2, 0, 0, 0), (2, 0, 0, 0))


def noisy(ratios: dict[int, float], prompts: int, seed: int, noise: float = 0.1) -> Advice:
    """The advice from two rounds of answers whose times scatter; `ratios` are the true ones, by k."""
    rng = np.random.default_rng(seed)
    prompt, tokens = 600 * rng.lognormal(0, 0.1, prompts), np.full(prompts, 2 * 59.0)
    times = {
        k: prompt * ratio * rng.lognormal(0, noise, (2, prompts)).sum(0) for k, ratio in {0: 1.0, **ratios}.items()
    }
    return advise({k: Times(tokens, times[k], tokens, times[0]) for k in ratios})


@pytest.mark.parametrize(
    ("ratios", "said", "k"),
    [
        ({2: 0.95, 4: 0.8}, "on", 4),
        ({2: 0.8, 4: 0.95}, "on", 2),
        ({2: 1.0, 4: 1.2}, "no difference shown", 0),
        ({2: 1.2, 4: 1.3}, "off", 0),
    ],
)
def test_advice_wants_all_on_one_side(ratios: dict[int, float], said: str, k: int) -> None:
    """On with the fastest k that is surely faster, off where every k is surely slower, else neither."""
    advice = noisy(ratios, 20, seed=1)
    assert (advice.speculate, advice.k) == (said, k)


@pytest.mark.parametrize(("prompts", "ks"), [(8, 4), (8, 7), (20, 4)])
def test_speculation_that_gains_nothing_is_rarely_advised(prompts: int, ks: int) -> None:
    """Every k as fast as k = 0: the luckiest of them looks faster, and is advised in at most 5 % of evaluations."""
    found = [noisy(dict.fromkeys(range(1, ks + 1), 1.0), prompts, seed).speculate for seed in range(200)]
    assert found.count("on") <= 10


def test_a_tenth_is_found_with_twenty_prompts() -> None:
    """A gain of 10 % under 10 % noise is advised nearly always."""
    found = [noisy({1: 1.0, 2: 0.9, 4: 1.0}, 20, seed) for seed in range(40)]
    assert sum((one.speculate, one.k) == ("on", 2) for one in found) >= 38


def test_one_prompt_advises_nothing() -> None:
    """However fast it was: there is nothing to judge its scatter by, and the interval has no end."""
    advice = noisy({4: 0.5}, 1, seed=1)
    assert advice.speculate == "no difference shown"
    assert advice.ratio is not None
    assert advice.ratio.high == inf


def test_an_interval_of_few_prompts_is_as_wide_as_it_must_be() -> None:
    """Of means of six normal figures 95 % of the intervals hold the true one; a plain bootstrap's are 86 %."""
    rng = np.random.default_rng(0)
    found = [interval(lambda x: x[0][0] / 6, rng.normal(0, 1, (6, 1))) for _ in range(400)]
    held = sum(one is not None and one.low <= 0 <= one.high for one in found)
    assert 0.92 <= held / 400 <= 0.98


def test_a_drafter_that_got_worse_is_told_per_task() -> None:
    """α fell for one task and not for the other; both were measured on the same prompts."""
    before = [answer("sql", i, 2, (2, 2, 1, 2), 10.0) for i in range(6)]
    before += [answer("poem", 9 + i, 2, (0, 1, 0, 0), 10.0) for i in range(6)]
    now = [answer("sql", i, 2, (0, 1, 0, 0), 10.0) for i in range(6)] + before[6:]
    fell, same = change(now, before, "sql"), change(now, before, "poem")
    assert fell is not None
    assert same is not None
    assert (fell.verdict, same.verdict) == ("fell", "no difference shown")
    assert fell.prompts == 6
    assert change(now, before, "unheard of") is None
