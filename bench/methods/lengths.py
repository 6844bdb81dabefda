"""`python -m bench.methods.lengths`: tokens per verify step by task, which no load of the machine changes.

Real vLLM in a process for each method, the demo pair without its padding layers (the same function), k = 4, requests
one after another in the workload's order, greedy; a line of JSON for each method.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from bench.correctness.engine import ENVIRONMENT
from bench.correctness.methods import K_MAX, RUNS, engine_options, missing
from bench.correctness.pair import correctness_models
from bench.document import write_table
from bench.methods.tables import lengths_table
from bench.provenance import provenance
from engines.demo.workload import ExampleRequest, load_workload
from engines.progress import silent

PER_TASK = 20
TABLE = "bench.methods.lengths"


def main(arguments: Sequence[str] | None = None) -> int:
    """Each method in turn; one alone, without a file to write, runs in this process."""
    parser = argparse.ArgumentParser(prog="python -m bench.methods.lengths", description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(RUNS)} (default: all)")
    parser.add_argument("--json", type=Path, help="write the results there, with where they come from")
    parser.add_argument("--document", type=Path, help=f"write the table there, between comments <!-- {TABLE} -->")
    options = parser.parse_args(arguments)
    names = options.methods or list(RUNS)
    if unknown := set(names) - RUNS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(RUNS)}")
    if len(names) == 1 and options.json is options.document is None:
        print(json.dumps(measured(names[0])), flush=True)
        return 0
    found: dict[str, Any] = {}
    for name in track(names, "methods", console=Console(stderr=True)):
        if (why := missing(name)) is not None:
            print(f"{name}: skipped, {why}", file=sys.stderr)
            continue
        command = [sys.executable, "-m", "bench.methods.lengths", name]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        print(line, flush=True)
        found[name] = {task: value for task, value in json.loads(line).items() if task != "method"}
        if options.json is not None:
            _write(options.json, found)
    if options.document is not None:
        write_table(options.document, TABLE, lengths_table(found))
    return 0


def _write(file: Path, found: dict[str, Any]) -> None:
    told = {"provenance": provenance(), "k": K_MAX, "prompts_per_task": PER_TASK, "temperature": 0}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**told, "tokens_per_step": found}, indent=1) + "\n")


def measured(name: str) -> dict[str, Any]:
    """Tokens per verify step of each task and of all."""
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    from vllm import LLM, SamplingParams

    models = correctness_models((name,), silent)
    options: dict[str, Any] = {"enforce_eager": True, "async_scheduling": False}
    options |= engine_options(name, models)
    llm = LLM(model=str(models.target), dtype="float32", max_model_len=512, max_num_seqs=1, **options)
    steps = _counted(llm.llm_engine.engine_core.engine_core.scheduler)
    asked = _requests()
    params = [
        SamplingParams(temperature=0, max_tokens=one.max_tokens, extra_args={"spec_k": K_MAX, "spec_task": one.task})
        for one in asked
    ]
    outputs = llm.generate([f"{one.prompt}\n" for one in asked], params, use_tqdm=False)
    tokens, verified = defaultdict[str, int](int), defaultdict[str, int](int)
    for one, output in zip(asked, outputs, strict=True):
        for key in (one.task, "all"):
            tokens[key] += len(output.outputs[0].token_ids) - 1  # the first comes from the prefill
            verified[key] += steps[output.request_id] - 1
    return {"method": name, **{key: round(tokens[key] / verified[key], 2) for key in sorted(tokens)}}


def _requests() -> list[ExampleRequest]:
    seen, chosen = defaultdict[str, int](int), []
    for one in load_workload():
        seen[one.task] += 1
        if seen[one.task] <= PER_TASK:
            chosen.append(one)
    return chosen


def _counted(scheduler: Any) -> dict[str, int]:
    """Steps by request, from now on."""
    steps = defaultdict[str, int](int)
    update = scheduler.update_from_output

    def counting(output: Any, answer: Any) -> Any:
        for name in output.num_scheduled_tokens:
            steps[name.split("-")[0]] += 1
        return update(output, answer)

    scheduler.update_from_output = counting
    return steps


if __name__ == "__main__":
    sys.exit(main())
