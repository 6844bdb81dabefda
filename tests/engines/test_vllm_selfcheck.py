"""The self-check's tests: what a right engine says always passes, what a broken one says is caught."""

import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.contract import EngineMetrics, VerifySteps
from engines.vllm_completion import Completion, Position
from engines.vllm_distribution import Sampling, distribution_problem, freedman_bound
from engines.vllm_selfcheck import PROMPTS, SAMPLED_TOKENS, SHOWN, TOP_K, divergence, k_problem

PLAIN, CUT = Sampling(temperature=1.0), Sampling(temperature=0.7, top_k=TOP_K)
POSITIONS = len(PROMPTS) * SAMPLED_TOKENS
Draw = Callable[[random.Random, Sequence[float]], int]


def softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities of logits at a temperature."""
    weights = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def rightly(sampling: Sampling) -> Draw:
    """How a right engine draws."""

    def draw(chance: random.Random, logits: Sequence[float]) -> int:
        kept = sorted(range(len(logits)), key=lambda i: -logits[i])[: sampling.top_k or None]
        return chance.choices(kept, softmax([logits[i] for i in kept], sampling.temperature))[0]

    return draw


def engine(draw: Draw, seed: int, sharpness: float, vocabulary: int = 50) -> list[Position]:
    """What an engine reports of tokens it drew so, from a random model's logits."""
    chance = random.Random(seed)
    positions = []
    for _ in range(POSITIONS):
        logits = [chance.gauss(0, sharpness) for _ in range(vocabulary)]
        token = draw(chance, logits)
        logprobs = [math.log(p) for p in softmax(logits)]
        ranked = sorted(range(vocabulary), key=lambda i: -logits[i])[:SHOWN]
        reported = ranked if token in ranked else [*ranked, token]
        positions.append(Position(token, logprobs[token], tuple((i, logprobs[i]) for i in reported)))
    return positions


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), sharpness=st.floats(0.3, 6), sampling=st.sampled_from([PLAIN, CUT]))
def test_a_right_engine_passes(seed: int, sharpness: float, sampling: Sampling) -> None:
    """However flat or peaked its model is."""
    assert distribution_problem(sampling, engine(rightly(sampling), seed, sharpness)) is None


BROKEN: dict[str, tuple[Sampling, Draw]] = {
    "any token at all": (PLAIN, lambda chance, logits: chance.randrange(len(logits))),
    "the likeliest only": (PLAIN, lambda chance, logits: logits.index(max(logits))),
    "half the temperature": (PLAIN, rightly(Sampling(temperature=0.5))),
    "twice the temperature": (PLAIN, rightly(Sampling(temperature=2.0))),
    "half greedy, half any": (PLAIN, lambda c, logits: c.choice((logits.index(max(logits)), c.randrange(len(logits))))),
    "no top-k": (CUT, rightly(Sampling(temperature=0.7))),
    "temperature 1 for 0.3": (Sampling(0.3, TOP_K), rightly(Sampling(1.0, TOP_K))),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("seed", range(5))
def test_a_broken_engine_is_caught(fault: str, seed: int) -> None:
    """On a model about as peaked as a language model is (top token near .4)."""
    sampling, draw = BROKEN[fault]
    assert distribution_problem(sampling, engine(draw, seed, sharpness=2.0)) is not None


@given(st.floats(0, 1e4), st.floats(1e-9, 0.1))
def test_the_bound_is_freedmans(variance: float, false_alarm: float) -> None:
    """Put back into his inequality it gives the chance asked for."""
    s = freedman_bound(variance, false_alarm)
    assert 2 * math.exp(-(s**2) / (2 * variance + 2 * s / 3)) == pytest.approx(false_alarm, rel=1e-6)


def said(tokens: Sequence[int], runner_up: float = -3.0, drafted: Sequence[int] = (), k: int = 0) -> Completion:
    """A greedy answer: each token certain but for a runner-up, one id higher."""
    positions = tuple(Position(t, -0.1, ((t, -0.1), (t + 1, runner_up))) for t in tokens)
    steps = VerifySteps(tuple(drafted), tuple(0 for _ in drafted))
    return Completion(positions, EngineMetrics(len(tokens), 1.0, 10.0, 0.0, steps))


def test_equal_greedy_output_passes() -> None:
    """Token by token."""
    assert divergence(said([1, 2, 3]), said([1, 2, 3])) is None


def test_different_greedy_output_is_told_where_it_begins() -> None:
    """Whether the other token was far behind or not among the likeliest at all."""
    assert divergence(said([1, 5, 3]), said([1, 6, 9])) == (
        "greedy output differs at token 1: 6 with speculation, 5 without (2.90 nats apart)"
    )
    assert "inf nats" in (divergence(said([1, 5, 3]), said([1, 99, 3])) or "")


def test_a_near_tie_is_no_difference() -> None:
    """bfloat16 kernels for one and for several tokens may order equals differently."""
    assert divergence(said([1, 5, 3], runner_up=-0.2), said([1, 6, 9])) is None


def test_other_log_probabilities_are_a_difference() -> None:
    """Equal tokens from other numbers: the numbers the sampling tests rely on."""
    far = Completion(tuple(Position(t, -0.9, ((t, -0.9),)) for t in (1, 2)), None)
    assert divergence(said([1, 2]), far) == (
        "greedy log-probabilities differ by 0.80 on average with and without speculation"
    )


@pytest.mark.parametrize(
    ("answer", "flag"),
    [
        (Completion((), None), "--enable-per-request-metrics"),
        (Completion((), EngineMetrics(2, 1.0, 2.0, 0.0, None)), "--per-request-spec-decode-metrics detailed"),
        (said([1, 2], drafted=[4]), "--scheduler-cls engines.vllm_scheduler.AsyncSpecKScheduler"),
    ],
)
def test_the_flag_a_server_was_started_without_is_named(answer: Completion, flag: str) -> None:
    """Servers by URL are started by people."""
    (problem,) = k_problem({2: [answer]}, always=True)
    assert flag in problem


@pytest.mark.parametrize(
    ("answers", "always", "problems"),
    [
        ({0: [said([1])], 2: [said([1, 2, 3], drafted=[2, 2])]}, True, 0),
        ({0: [said([1])], 2: [said([1, 2, 3], drafted=[2, 1])]}, True, 1),
        ({0: [said([1])], 2: [said([1, 2, 3], drafted=[2, 1])]}, False, 0),
        ({0: [said([1])], 2: [said([1, 2, 3], drafted=[4])]}, False, 1),
        ({0: [said([1, 2], drafted=[4])], 4: [said([1, 2], drafted=[4])]}, True, 1),
        ({2: [said([1, 2, 3])]}, True, 1),
        ({2: [said([1, 2, 3])]}, False, 0),
        ({0: [Completion((), None)]}, True, 1),
    ],
)
def test_k_must_be_drafted_as_asked(answers: dict[int, list[Completion]], *, always: bool, problems: int) -> None:
    """Exactly where the method always drafts, no more elsewhere, none for k = 0, and told at all."""
    assert len(k_problem(answers, always=always)) == problems
