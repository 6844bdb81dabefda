"""Verifies a speculative engine before its first request: same greedy output, right sampled distribution, k honoured.

Speculation must not change what a model says. vLLM's platforms differ in the kernels that see to this, and one of
them got it wrong (docs/upstream-vllm-cpu-sampled-speculation.md), so every engine is asked, with its own model.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from engines.vllm_completion import Completer, Completion, Position
from engines.vllm_methods import METHODS

PROMPTS = (
    "The capital of France is",
    "1, 2, 3, 4, 5, 6, 7, 8, 9,",
    "def add(a, b):\n    return",
    "SELECT name FROM users WHERE",
    "Once upon a time there was",
    "one two one two one two one",
)
GREEDY_PROMPTS = 3
GREEDY_TOKENS = 24
SAMPLED_TOKENS = 48
TOP = 5
TIE_NATS = 0.25
"""Two tokens within this log-probability of each other may change places between the kernels for one and for several
tokens per request: bfloat16 holds logits of 16–32 in steps of 0.125."""
FALSE_ALARM = 1e-5
"""Chance that one of the five statistical tests fails a correct engine: under 1e-4 together."""
LIMIT = aiohttp.ClientTimeout(total=120)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. The engine's log-probabilities give its chances exactly in two cases: temperature 1, and
    any temperature with a top-k of `TOP`."""

    temperature: float
    top_k: int = 0

    def __str__(self) -> str:
        return f"temperature {self.temperature:g}" + (f" and top-k {self.top_k}" if self.top_k else "")


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What the check found; `problems` says each failure in words."""

    greedy_identical: bool
    sampled_ok: bool
    k_honoured: bool
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


async def self_check(url: str, api_key: str | None, *, model: str, k_max: int, method: str) -> SelfCheck:
    """Check the speculative engine at `url` (base, without /v1); some 600 tokens, seconds on a small CPU model.

    Raises aiohttp.ClientError or TimeoutError where the engine does not answer.
    """
    async with aiohttp.ClientSession(timeout=LIMIT) as session:
        complete = Completer(session, url, api_key, model)
        greedy = await _greedy(complete, k_max)
        sampled_problems = await _sampled_problems(complete, k_max)
    k_problems = k_problem(greedy, always=METHODS[method].drafts_every_step)
    greedy_problems = [p for k in greedy if k for p in map(divergence, greedy[0], greedy[k]) if p]
    return SelfCheck(
        greedy_identical=not greedy_problems,
        sampled_ok=not sampled_problems,
        k_honoured=not k_problems,
        problems=(*greedy_problems, *sampled_problems, *k_problems),
    )


async def _greedy(complete: Completer, k_max: int) -> dict[int, list[Completion]]:
    """Greedy answers to the same prompts without speculation, with k_max, and with a k between them if there is one.

    All in one go: requests of different k share batches, as in service.
    """
    ks = sorted({0, min(2, k_max), k_max})
    asked = {
        k: [
            complete(prompt, k=k, max_tokens=GREEDY_TOKENS, temperature=0.0, logprobs=TOP)
            for prompt in PROMPTS[:GREEDY_PROMPTS]
        ]
        for k in ks
    }
    answers = await asyncio.gather(*(request for k in ks for request in asked[k]))
    return {k: list(answers[i * GREEDY_PROMPTS : (i + 1) * GREEDY_PROMPTS]) for i, k in enumerate(ks)}


async def _sampled_problems(complete: Completer, k_max: int) -> list[str]:
    """Sample under speculation: plainly, then with a temperature and a top-k, which cuts the tail off.

    The second only if the first was right: on a broken engine it could do worse than answer wrongly.
    """
    for sampling in (Sampling(temperature=1.0), Sampling(temperature=0.7, top_k=TOP)):
        answers = await asyncio.gather(
            *(
                complete(
                    prompt,
                    k=k_max,
                    max_tokens=SAMPLED_TOKENS,
                    temperature=sampling.temperature,
                    top_k=sampling.top_k,
                    logprobs=TOP,
                )
                for prompt in PROMPTS
            )
        )
        if problem := distribution_problem(sampling, [p for answer in answers for p in answer.positions]):
            return [problem]
    return []


def divergence(plain: Completion, speculative: Completion) -> str | None:
    """How greedy output with speculation differs from output without; None where it does not, or only by a near tie.

    Past the first difference the two are different texts: nothing there is compared.
    """
    same = next((i for i, (a, b) in enumerate(zip(plain.tokens, speculative.tokens, strict=True)) if a != b), None)
    shared = list(zip(plain.positions, speculative.positions, strict=True))[:same]
    if shared and (drift := math.fsum(abs(a.logprob - b.logprob) for a, b in shared) / len(shared)) > TIE_NATS:
        return f"greedy log-probabilities differ by {drift:.2f} on average with and without speculation"
    if same is None:
        return None
    here, other = plain.positions[same], speculative.positions[same].token
    gap = here.logprob - dict(here.likeliest).get(other, -math.inf)
    if gap <= TIE_NATS:
        return None
    return (
        f"greedy output differs at token {same}: {other} with speculation, {here.token} without ({gap:.2f} nats apart)"
    )


def distribution_problem(sampling: Sampling, positions: Sequence[Position]) -> str | None:
    """Why tokens cannot have been drawn from the engine's own probabilities by `sampling`; None if they can.

    Whether a token is among the j likeliest is a coin whose probability the engine itself reports, at every position
    and whatever came before. The sum of (outcome − probability) is then a martingale, bounded by Freedman's
    inequality (Annals of Probability 3, 1975) without any assumption on the model or the texts.
    """
    if sampling.top_k and (stray := sum(map(_outside_top, positions))):
        return f"sampling at {sampling}: {stray} of {len(positions)} tokens are not among the {TOP} likeliest"
    for j in (1, 2) if sampling.top_k else (1, TOP):
        hits = sum(p.token in {token for token, _ in p.likeliest[:j]} for p in positions)
        chances = [_chance(p, j, sampling) for p in positions]
        expected = math.fsum(chances)
        if abs(hits - expected) > freedman_bound(math.fsum(p * (1 - p) for p in chances)):
            return (
                f"sampling at {sampling}: {hits} of {len(positions)} tokens are among the {j} likeliest, "
                f"{expected:.1f} were expected"
            )
    return None


def freedman_bound(variance: float, false_alarm: float = FALSE_ALARM) -> float:
    """The deviation that a sum of martingale steps of at most 1 exceeds, either way, with less than `false_alarm`.

    `variance` is the sum of the steps' conditional variances. Inverts P(S ≥ s) ≤ exp(−s² / (2V + 2s/3)).
    """
    exponent = math.log(2 / false_alarm)
    return exponent / 3 + math.sqrt(exponent**2 / 9 + 2 * variance * exponent)


def k_problem(greedy: dict[int, list[Completion]], *, always: bool) -> list[str]:
    """Where an engine drafted other than asked: `greedy` holds answers by the k asked for, with their metrics.

    `always`: its method finds drafts in every step, so each must have exactly k.
    """
    problems: list[str] = []
    for k, answers in greedy.items():
        if any(a.metrics is None or a.metrics.steps is None for a in answers):
            problems.append(
                f"k = {k}: no metrics.speculative_decoding in the answer; is it started with the metrics flags?"
            )
            continue
        drafted = {d for a in answers if a.metrics and a.metrics.steps for d in a.metrics.steps.drafted}
        if any(d > k for d in drafted) or (always and k and drafted != {k}):
            problems.append(
                f"k = {k} was asked and {sorted(drafted)} drafted per step; is engines.vllm_scheduler loaded?"
            )
    return problems


def _outside_top(position: Position) -> bool:
    return position.logprob < position.likeliest[:TOP][-1][1] - TIE_NATS


def _chance(position: Position, j: int, sampling: Sampling) -> float:
    """Probability that `sampling` draws one of the `j` likeliest tokens; a top-k draws from the `TOP` likeliest."""
    weights = [math.exp(logprob / sampling.temperature) for _, logprob in position.likeliest[:TOP]]
    return min(1.0, math.fsum(weights[:j]) / (math.fsum(weights) if sampling.top_k else 1.0))
