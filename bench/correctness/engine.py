"""One method on real vLLM in a process of its own; its answers are a line of JSON on standard output.

`python -m bench.correctness.engine NAME PROMPTS SAMPLES TEMPERATURE`; run by `bench.correctness`.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.correctness.methods import K_MAX, VANILLA, engine_options
from bench.correctness.pair import ROLLS, correctness_models, dice, greedy_prompts
from engines.progress import silent

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
AT_ONCE = 256
COUNTS = {"drafted": "vllm:spec_decode_num_draft_tokens", "accepted": "vllm:spec_decode_num_accepted_tokens"}
EXACT = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}


def main(name: str, prompts: int, samples: int, temperature: float) -> None:
    """Greedy answers to `prompts` requests, then `samples` samples of the die, each with a k of its own."""
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    from vllm import LLM

    models = correctness_models((name,), silent)
    llm = LLM(
        model=str(models.target),
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        max_num_seqs=AT_ONCE,
        async_scheduling=False,
        disable_log_stats=False,
        seed=1,
        **engine_options(name, models),
    )
    greedy = _greedy(llm, name, prompts)
    before = _counts(llm)
    sampled = _sampled(llm, name, dice(models.target, 1.0).prompt, samples, temperature)
    after = _counts(llm)
    report = {"greedy": greedy, "greedy_counts": before, "sampled": sampled}
    report["sampled_counts"] = {what: after[what] - before[what] for what in after}
    print(json.dumps(report), flush=True)


def _greedy(llm: Any, name: str, prompts: int) -> list[list[int]]:
    from vllm import SamplingParams

    asked = greedy_prompts(prompts)
    params = [
        SamplingParams(temperature=0, max_tokens=limit, extra_args=_told(name, i, task), **EXACT)
        for i, (task, _, limit) in enumerate(asked)
    ]
    outputs = llm.generate([prompt for _, prompt, _ in asked], params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def _sampled(llm: Any, name: str, prompt: str, samples: int, temperature: float) -> list[tuple[list[int], int]]:
    """How often each row of `ROLLS` tokens came."""
    from vllm import SamplingParams

    seen: Counter[tuple[int, ...]] = Counter()
    plain: dict[str, Any] = {"temperature": temperature, "max_tokens": ROLLS, "ignore_eos": True, **EXACT}
    for start in range(0, samples, 1000):
        wanted = range(start, min(samples, start + 1000))
        params = [SamplingParams(extra_args=_told(name, i, "other"), **plain) for i in wanted]
        outputs = llm.generate([prompt] * len(params), params, use_tqdm=False)
        seen.update(tuple(output.outputs[0].token_ids) for output in outputs)
    return [(list(row), count) for row, count in seen.items()]


def _told(name: str, i: int, task: str) -> dict[str, object] | None:
    """k runs from 0 to the largest, so that a batch holds all of them."""
    return None if name == VANILLA else {"spec_k": i % (K_MAX + 1), "spec_task": task}


def _counts(llm: Any) -> Mapping[str, int]:
    values = {metric.name: getattr(metric, "value", 0) for metric in llm.get_metrics()}
    return {what: int(values.get(name, 0)) for what, name in COUNTS.items()}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
