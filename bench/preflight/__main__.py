"""`python -m bench.preflight TARGET [DRAFT]`: start vLLM on this machine and compare its memory with preflight's.

Without a model, the demo pair. Writes bench/results/preflight/NAME.json; on a machine with a GPU that is the file
that says how far preflight's figures are to be trusted there.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.preflight.reported import Compared, compared
from bench.provenance import provenance
from engines.demo.build import build_demo_pair, default_folder
from engines.pool import DEMO, PoolSettings
from engines.preflight.report import examine
from engines.preflight.starting import gpu_memory_bytes, plan_of, wanted_of
from engines.vllm_command import runs_on_cpu
from engines.vllm_server import EngineServer

RESULTS = Path("bench/results/preflight")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    asked = _parser().parse_args(arguments)
    figures = []
    for pool in pools(asked.target, asked.draft, asked.method, asked.context, asked.batch):
        found = asyncio.run(measured(pool))
        for one in found:
            sys.stdout.write(
                f"{pool.name}: {one.figure} reported {one.reported:,.2f}, predicted {one.predicted:,.2f} "
                f"({one.error:+.1%})\n"
            )
        figures.append({"engine": pool.name, "figures": [{**asdict(one), "error": one.error} for one in found]})
    out = asked.out or RESULTS / ("cpu.json" if gpu_memory_bytes() is None else "gpu.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"provenance": provenance(), "gpu_bytes": gpu_memory_bytes(), "asked": _shown(asked), "engines": figures}
    out.write_text(json.dumps(content, indent=2) + "\n")
    sys.stdout.write(f"{out}\n")
    return 0


def pools(target: str, draft: str, method: str, context: int, batch: int) -> tuple[PoolSettings, ...]:
    """A vanilla and a speculative pool over the models; the demo pair's folders in place of the word."""
    if DEMO in (target, draft):
        pair = build_demo_pair(default_folder())
        target, draft = str(pair.target), str(pair.draft)
    shared = {"target": target, "vllm": {"max_model_len": context, "max_num_seqs": batch}}
    speculative = {"drafter": draft, "method": method, "k_max": 4}
    return (
        PoolSettings.model_validate({"name": "vanilla", **shared}),
        PoolSettings.model_validate({"name": "draft", **shared, **speculative}),
    )


async def measured(pool: PoolSettings) -> tuple[Compared, ...]:
    """Start the pool's engine, end it, and compare what its log said."""
    memory = None if runs_on_cpu(pool) else gpu_memory_bytes()
    found = examine(wanted_of(pool), plan_of(pool, memory)).account
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vllm.log"
        async with EngineServer(pool, log_file=log):
            pass
        return tuple(compared(await asyncio.to_thread(log.read_text), found))


def _shown(asked: argparse.Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(asked).items() if name != "out"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.preflight", description=__doc__)
    parser.add_argument("target", nargs="?", default=DEMO, help="folder or hub id; default: the demo pair")
    parser.add_argument("draft", nargs="?", default=DEMO, help="its drafter")
    parser.add_argument("--method", default="draft_model")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, default=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
