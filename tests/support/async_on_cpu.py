"""Runs real vLLM with asynchronous scheduling on a CPU and prints, as JSON, what each request drafted and said.

vLLM turns asynchronous scheduling off on CPUs because there is nothing to overlap; its code runs there all the same
once the CUDA streams it copies on are played by no-ops (every copy is then complete when it returns). That exercises
the asynchronous scheduler with the real engine core, model runner and rejection sampler on a machine without a GPU.
"""

import contextlib
import json
import os
import sys
from typing import Any

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # all in this process, where the stand-ins are
    "VLLM_NO_USAGE_STATS": "1",
}

K_MAX = 4
PROMPTS = ("one two one two", "the quick brown fox")


class Stream:
    """A stream and an event on which everything has already happened."""

    def __init__(self, *_: object, **__: object) -> None:
        self.record_event = lambda *_: Stream()
        self.record = self.wait = self.synchronize = self.wait_stream = self.wait_event = lambda *_: None


def play_streams() -> None:
    """Replace what the model runner uses of CUDA."""
    import torch

    accelerator: Any = torch.cuda
    accelerator.Stream = accelerator.Event = Stream
    accelerator.stream = lambda _: contextlib.nullcontext()
    accelerator.current_stream = lambda *_: Stream()
    module: Any = torch
    module.Event = module.Stream = Stream


def keep_asynchronous() -> None:
    """Undo that vLLM's CPU platform turns asynchronous scheduling off."""
    from vllm.platforms.cpu import CpuPlatform

    check = CpuPlatform.check_and_update_config.__func__

    def check_but_async(cls: type, config: Any) -> None:
        check(cls, config)
        config.scheduler_config.async_scheduling = True

    CpuPlatform.check_and_update_config = classmethod(check_but_async)


def main(target: str, drafter: str) -> None:
    """Generate greedily with every k at once; the report is the last line printed."""
    os.environ |= ENVIRONMENT
    play_streams()
    keep_asynchronous()
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=target,
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=8,
        speculative_config={"method": "draft_model", "model": drafter, "num_speculative_tokens": K_MAX},
        scheduler_cls="engines.vllm_scheduler.AsyncSpecKScheduler",
        async_scheduling=True,
    )
    core = llm.llm_engine.engine_core.engine_core
    drafted = watch(core.scheduler)
    asked = [(prompt, k) for prompt in PROMPTS for k in range(K_MAX + 1)]
    plain = {"temperature": 0, "max_tokens": 40, "ignore_eos": True}
    outputs = llm.generate(
        [prompt for prompt, _ in asked], [SamplingParams(**plain, extra_args={"spec_k": k}) for _, k in asked]
    )
    report = [
        {"prompt": prompt, "k": k, "drafted": drafted[o.request_id], "tokens": list(o.outputs[0].token_ids)}
        for (prompt, k), o in zip(asked, outputs, strict=True)
    ]
    print(json.dumps({"in_flight": core.batch_queue_size, "requests": report}))


def watch(scheduler: Any) -> dict[str, list[int]]:
    """By request, the drafts verified in each step from now on."""
    drafted: dict[str, list[int]] = {}
    update = scheduler.update_from_output

    def watched(output: Any, answer: Any) -> Any:
        for name in output.num_scheduled_tokens:
            steps = drafted.setdefault(name.split("-")[0], [])
            steps.append(len(output.scheduled_spec_decode_tokens.get(name, ())))
        return update(output, answer)

    scheduler.update_from_output = watched
    return drafted


if __name__ == "__main__":
    main(*sys.argv[1:])
