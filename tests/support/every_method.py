"""Runs real vLLM with each speculation method in turn, all in one process, and prints a line of JSON for each.

`every_method.py METHOD…`: a process of its own takes 10 s to import vLLM, an engine of the tiny target 2 s to start.
"""

import contextlib
import gc
import json
import os
import sys
import traceback
from typing import Any

from async_on_cpu import ENVIRONMENT, watch
from tiny_heads import K_MAX, tiny_heads
from tiny_pair import tiny_pair

from engines.pool import PoolSettings
from engines.vllm_command import build_command

PROMPTS = ("one two one two", "the quick brown fox", "aaaa")
TOKENS = 40
CUSTOM = "repeat_proposer.RepeatLast"


def speculation(method: str) -> dict[str, object]:
    """What a pool with this method gives vLLM: its speculative config and its scheduler."""
    drafters = {"draft_model": tiny_pair().drafter, "custom_class": CUSTOM, **tiny_heads()}
    options = {"prompt_lookup_min": 1, "prompt_lookup_max": 3} if method == "ngram" else {}
    pool = PoolSettings.model_validate(
        {
            "name": "tiny",
            "target": str(tiny_pair().target),
            "method": method,
            "k_max": K_MAX,
            "drafter": str(drafters[method]) if method in drafters else None,
            "ensemble": {"least_survival": 0},  # else hopeless drafts are left out, and here most are
            "vllm": {"device": "cpu", "speculative": options},
        }
    )
    argv = build_command(pool, host="127.0.0.1", port=1, api_key="").argv
    flags = ("--speculative-config", "--scheduler-cls", "--worker-extension-cls", "--additional-config")
    given = {flag: argv[argv.index(flag) + 1] for flag in flags if flag in argv}
    return {
        flag[2:].replace("-", "_"): json.loads(text) if text.startswith("{") else text for flag, text in given.items()
    }


def main(methods: list[str]) -> None:
    """Vanilla first, then each method; each reports in a line of its own."""
    os.environ |= ENVIRONMENT
    for method in (None, *methods):
        try:
            report = run(method)
        except Exception:
            report = {"error": traceback.format_exc()[-3000:]}
        print(json.dumps({"method": method, **report}), flush=True)


def run(method: str | None) -> dict[str, Any]:
    """Greedy answers to every prompt at every k in one batch, with what was drafted and accepted."""
    from vllm import LLM, SamplingParams
    from vllm.distributed import cleanup_dist_env_and_memory

    speculative: dict[str, Any] = speculation(method) if method else {}
    llm = LLM(
        model=str(tiny_pair().target),
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=16,
        async_scheduling=False,
        **speculative,
    )
    try:
        drafted = watch(llm.llm_engine.engine_core.engine_core.scheduler)
        asked = [(prompt, k) for prompt in PROMPTS for k in (range(K_MAX + 1) if method else (0,))]
        plain = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}
        outputs = llm.generate(
            [prompt for prompt, _ in asked], [SamplingParams(**plain, extra_args={"spec_k": k}) for _, k in asked]
        )
        return {
            "requests": [
                {"prompt": prompt, "k": k, "drafted": drafted[o.request_id], "tokens": list(o.outputs[0].token_ids)}
                for (prompt, k), o in zip(asked, outputs, strict=True)
            ]
        }
    finally:
        with contextlib.suppress(Exception):
            llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        cleanup_dist_env_and_memory()


if __name__ == "__main__":
    main(sys.argv[1:])
