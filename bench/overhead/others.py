"""Routers of others over the same engines, where they are installed."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.overhead.measure import INSTANT, PACED, Target
from bench.overhead.targets import START_LIMIT_S, simulated, until_answers
from engines.child import die_with_parent
from engines.ports import free_port


def installed_vllm_router() -> Path | None:
    """The `vllm-router` (PyPI) on PATH; None where there is none."""
    found = shutil.which("vllm-router")
    return Path(found) if found else None


@contextlib.contextmanager
def vllm_router(program: Path, urls: dict[str, str], folder: Path) -> Iterator[Target]:
    """One process in front of each engine: it takes all of its engines to serve one model."""
    with contextlib.ExitStack() as stack:
        own = {model: stack.enter_context(_over(program, urls[model], folder)) for model in (INSTANT, PACED)}
        yield Target(
            "vllm-router",
            {model: url for model, (url, _) in own.items()},
            tuple(process.pid for _, process in own.values()),
            simulated(),
        )


@contextlib.contextmanager
def _over(program: Path, engine: str, folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    port, metrics = free_port(), free_port()
    command = [str(program), "--worker-urls", engine, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--prometheus-port", str(metrics), "--policy", "round_robin", "--log-level", "error"]
    with (folder / f"vllm-router-{port}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent())
        try:
            until_answers(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            process.wait(timeout=START_LIMIT_S)
