"""Verifies a speculative engine before its first request: same greedy output, right sampled distribution, k honoured.

Speculation must not change what a model says. vLLM's platforms differ in the kernels that see to this, and one of
them got it wrong (docs/upstream-vllm-cpu-sampled-speculation.md), so every engine is asked, with its own model.
"""

import asyncio
import math
from dataclasses import dataclass

from engines.http import engine_session
from engines.vllm_completion import Completer, Completion
from engines.vllm_distribution import Sampling, distribution_problem
from engines.vllm_flags import DRAFTS_FLAG, METRICS_FLAG, SCHEDULER_FLAGS
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
SHOWN = 20
"""Likeliest tokens asked for at each position: as many as vLLM gives by default."""
TOP_K = 5
TIE_NATS = 0.25
"""Two tokens within this log-probability of each other may change places between the kernels for one and for several
tokens per request: bfloat16 holds logits of 16–32 in steps of 0.125."""
LIMIT_S = 120.0


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
    async with engine_session(LIMIT_S) as session:
        complete = Completer(session, url, api_key, model)
        greedy = await _greedy(complete, k_max)
        sampled_problems = await _sampled_problems(complete, k_max)
    known = METHODS.get(method)  # a server by URL may run another
    k_problems = k_problem(greedy, always=known is not None and known.drafts_every_step)
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
            complete(prompt, k=k, max_tokens=GREEDY_TOKENS, temperature=0.0, logprobs=SHOWN)
            for prompt in PROMPTS[:GREEDY_PROMPTS]
        ]
        for k in ks
    }
    answers = await asyncio.gather(*(request for k in ks for request in asked[k]))
    return {k: list(answers[i * GREEDY_PROMPTS : (i + 1) * GREEDY_PROMPTS]) for i, k in enumerate(ks)}


async def _sampled_problems(complete: Completer, k_max: int) -> list[str]:
    """Sample under speculation and compare with the engine's own probabilities; stops at the first problem.

    One request alone, then a batch in which others with other temperatures are mixed (values left in memory must not
    pass for right ones), and at last a top-k, which on a broken engine may do worse than answer wrongly.
    """
    plain, cut = Sampling(1.0), Sampling(0.7, TOP_K)
    for sampling, prompts, beside in (
        (plain, PROMPTS[:1], ()),
        (plain, PROMPTS, (Sampling(0.3), Sampling(2.0))),
        (cut, PROMPTS, ()),
    ):
        asked = [(prompt, sampling) for prompt in prompts] + [(PROMPTS[0], other) for other in beside]
        answers = await asyncio.gather(*(_draw(complete, prompt, how, k_max) for prompt, how in asked))
        positions = [position for answer in answers[: len(prompts)] for position in answer.positions]
        if problem := distribution_problem(sampling, positions):
            return [problem]
    return []


async def _draw(complete: Completer, prompt: str, sampling: Sampling, k: int) -> Completion:
    return await complete(
        prompt,
        k=k,
        max_tokens=SAMPLED_TOKENS,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        logprobs=SHOWN,
    )


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


def k_problem(greedy: dict[int, list[Completion]], *, always: bool) -> list[str]:
    """Where an engine drafted other than asked: `greedy` holds answers by the k asked for, with their metrics.

    `always`: its method finds drafts in every step, so each must have exactly k.
    """
    problems: list[str] = []
    for k, answers in greedy.items():
        if flag := _missing_flag(answers):
            problems.append(f"k = {k}: no drafts per step in the answer's metrics; start the server with {flag}")
            continue
        drafted = {d for a in answers if a.metrics and a.metrics.steps for d in a.metrics.steps.drafted}
        if any(d > k for d in drafted) or (always and k and drafted != {k}):
            problems.append(
                f"k = {k} was asked and {sorted(drafted)} drafted per step; start the server with {SCHEDULER_FLAGS}"
            )
    return problems


def _missing_flag(answers: list[Completion]) -> str | None:
    """The flag without which an engine answers so; None where it tells its drafts."""
    if any(answer.metrics is None for answer in answers):
        return METRICS_FLAG
    return DRAFTS_FLAG if any(answer.metrics and answer.metrics.steps is None for answer in answers) else None
