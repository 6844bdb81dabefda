"""`python -m bench.correctness`: speculation must change nothing but the time.

Every method of `bench.correctness.methods` on real vLLM, with k = 0 … 4 mixed in each batch: greedy answers to
hundreds of prompts, token for token those of the engine without speculation; and samples at a temperature above 0
against probabilities computed from the weights. `--unpatched` leaves out this project's repair of vLLM's CPU build, and
must fail.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.correctness.methods import K_MAX, RUNS, VANILLA, missing
from bench.correctness.pair import ROLLS, Reference, correctness_models, dice
from bench.correctness.verdict import Distribution, differing, distribution, least_samples
from bench.provenance import provenance
from engines.progress import reporting

LIMIT_S = 900


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where a method changed what is said (with --unpatched: where one did not)."""
    options = _parser().parse_args(arguments)
    with reporting() as progress:
        reference = dice(correctness_models((), progress).target, options.temperature)
        if options.samples < (least := least_samples(reference.chances)):
            raise SystemExit(f"--samples {options.samples} is too few to compare: at least {least}")
        correctness_models(options.methods, progress)  # now, with a bar, and not in front of an engine
    found = _begun(options)
    vanilla: Mapping[str, Any] | None = None
    for name in (VANILLA, *options.methods):
        why = missing(name)
        if why is None:
            began_s = time.monotonic()
            # vanilla is a control of the reference alone
            samples = max(options.samples // 4, least) if name == VANILLA else options.samples
            report = _run(name, samples, options)
            vanilla = vanilla or report
            told = _judged(report, vanilla, reference) | {"took_s": round(time.monotonic() - began_s, 1)}
            told["provenance"] = provenance()
        else:
            told = {"skipped": why}
        found["methods"][name] = told
        print(f"{name}: {_line(told)}", file=sys.stderr, flush=True)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    return _status(found["methods"], unpatched=options.unpatched)


def _status(methods: Mapping[str, Any], *, unpatched: bool) -> int:
    """0 where vanilla and every method that ran are right; with --unpatched, where vanilla is and none of them."""
    right = [told["right"] for name, told in methods.items() if "right" in told and name != VANILLA]
    as_expected = not any(right) if unpatched else all(right)
    return int(not (methods[VANILLA]["right"] and right and as_expected))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.correctness", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--prompts", type=int, default=500, help="greedy answers (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=20_000, help="sampled answers (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the samples (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", choices=tuple(RUNS), default=tuple(RUNS), metavar="METHOD")
    parser.add_argument("--add", action="store_true", help="keep the methods that the --json file holds already")
    parser.add_argument("--unpatched", action="store_true", help="without the repair of vLLM's CPU build")
    return parser


def _begun(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked, and with --add the methods that were measured so already."""
    asked = {
        "prompts": options.prompts,
        "samples": options.samples,
        "temperature": options.temperature,
        "k": f"0 … {K_MAX}, mixed in each batch",
        "rolls": ROLLS,
        "repaired": not options.unpatched,
    }
    kept = json.loads(options.json.read_text()) if options.add and options.json and options.json.exists() else {}
    if other := [name for name, value in asked.items() if kept and kept[name] != value]:
        raise SystemExit(f"{options.json} was measured with another {', '.join(other)}: it cannot be added to")
    return asked | {"methods": kept.get("methods", {})}


def _run(name: str, samples: int, options: argparse.Namespace) -> Mapping[str, Any]:
    """An engine's answers; a process each, for vLLM binds its kernels once."""
    command = [sys.executable, "-m", "bench.correctness.engine", name]
    command += [str(options.prompts), str(samples), str(options.temperature)]
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    env |= {"VLLM_PLUGINS": "none"} if options.unpatched else {}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"greedy"')]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    report: Mapping[str, Any] = json.loads(lines[-1])
    return report


def _judged(report: Mapping[str, Any], vanilla: Mapping[str, Any], reference: Reference) -> dict[str, Any]:
    seen = {tuple(row): count for row, count in report["sampled"]}
    found: Distribution = distribution(seen, reference.chances)
    differ = differing(vanilla["greedy"], report["greedy"])
    return {
        "right": not differ and found.unchanged,
        "greedy": {
            "answers": len(report["greedy"]),
            "tokens": sum(map(len, report["greedy"])),
            "differing": differ,
            **report["greedy_counts"],
        },
        "sampled": {**asdict(found), "unchanged": found.unchanged, **report["sampled_counts"]},
    }


def _line(told: Mapping[str, Any]) -> str:
    if "skipped" in told:
        return f"skipped, {told['skipped']}"
    greedy, sampled = told["greedy"], told["sampled"]
    return (
        f"{len(greedy['differing'])} of {greedy['answers']} greedy answers differ "
        f"({greedy['accepted']} of {greedy['drafted']} drafts accepted), "
        f"{sampled['samples']} samples p = {sampled['p']:.2g} ({sampled['accepted']} of {sampled['drafted']}), "
        f"{told['took_s']:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
