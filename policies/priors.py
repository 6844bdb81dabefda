"""What is believed before any evidence: acceptance per task and method, cost of a step, length of an answer."""

from functools import cache

from policies.task import OTHER

FIRST_POSITION = {
    "sql_generation": 0.90,
    "code_generation": 0.85,
    "api_call_generation": 0.85,
    "question_answering": 0.79,
    "mathematics": 0.79,
    "summarization": 0.72,
    "legal_analysis": 0.71,
    "translation": 0.70,
    "customer_support": 0.61,
    "creative_writing": 0.42,
    OTHER: 0.62,
}
"""h_1 per task for drafters that are models: inside published ranges, and such that the first k at c = .1 is 7 for SQL,
6 for code and API calls, 5 for QA and mathematics, 4 for summaries, legal and translation, 3 for support, 2 for
stories."""

FADE = 0.985
"""h_i / h_(i−1) of model drafters."""

NGRAM_FIRST, NGRAM_NEXT = 0.11, 0.75
NGRAM_CODE_FIRST, NGRAM_CODE_NEXT = 0.25, 0.92
"""N-gram lookup rarely starts a match and seldom loses one (public per-step measurements, Llama-3.1-8B)."""

OUTPUT_TOKENS = 128.0
"""Expected length of an answer of a task never seen, where the request sets no limit."""

STEP_S = (8e-3, 3e-5, 2e-5, 8.2e-3, 8e-4, 4e-5, 2e-2, 0.0)
"""Step time in seconds over the regressors of `policies.cost` of a replica without a probe: 8 ms, c = .1."""


@cache
def acceptance_prior(task: str, lookup: bool, k_max: int) -> tuple[float, ...]:
    """Prior means of h_1 … h_k_max for a task, of a model's drafts or of ones looked up in texts."""
    if lookup:
        code = task == "code_generation"
        first, then = (NGRAM_CODE_FIRST, NGRAM_CODE_NEXT) if code else (NGRAM_FIRST, NGRAM_NEXT)
        return (first,) + (then,) * (k_max - 1)
    first = FIRST_POSITION.get(task, FIRST_POSITION[OTHER])
    return tuple(first * FADE**i for i in range(k_max))
