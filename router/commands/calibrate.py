"""`alpharoute calibrate`: measure an engine and write the file that the policy benchmark simulates."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from classifiers.examples import read_examples
from engines.calibration_file import calibration, write
from engines.calibration_sweep import Sweep, measure
from engines.demo.workload import load_workload
from engines.engine_client import MeasurementError
from engines.progress import Report, reporting
from router.errors import SetupError


@dataclass(frozen=True, slots=True)
class Calibrated:
    """An engine to measure: where, its model (None: the first it lists), and a vanilla engine of the same target."""

    url: str
    model: str | None = None
    vanilla_url: str | None = None
    api_key: str | None = None
    vanilla_api_key: str | None = None
    drafter: str = "drafter"
    method: str = "draft_model"


def prompts_by_task(path: Path | None) -> dict[str, list[str]]:
    """Prompts of a file of JSON lines {"task", "prompt"}, or of the demo's workload. SetupError where it holds none."""
    found: dict[str, list[str]] = {}
    try:
        lines = load_workload() if path is None else read_examples(path)
    except (OSError, ValueError) as error:
        raise SetupError(f"--prompts: {error}") from None
    for line in lines:
        text = line.prompt if isinstance(line.prompt, str) else line.prompt.text
        found.setdefault(line.task, []).append(text)
    if not found:
        raise SetupError(f"--prompts {str(path)!r}: no prompts in it")
    return found


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers separated by commas, ascending; SetupError names the option."""
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or found[0] < 0:
        raise SetupError(f"{option} {text!r}: whole numbers from 0, separated by commas")
    return found


def key_for(url: str, own: str | None, first: str, first_key: str | None) -> str | None:
    """The key that a further engine is sent: its own, else that of the first, which goes to no other host."""
    return own or (first_key if urlsplit(url).hostname == urlsplit(first).hostname else None)


def calibrate(engine: Calibrated, prompts: dict[str, list[str]], sweep: Sweep, out: Path) -> dict[str, object]:
    """Sweep, fit, write, and return what was written; progress goes to stderr. SetupError says why an engine could not
    be measured."""
    if max(sweep.ks) < 1 or min(sweep.batches) < 1:
        raise SetupError("--ks needs a k above 0, --batches sizes from 1")
    try:
        with reporting(of="calibrate") as progress:
            found = asyncio.run(_measured(engine, prompts, sweep, out.stem, progress))
    except MeasurementError as error:
        raise SetupError(str(error)) from None
    try:
        write(found, out)
    except OSError as error:
        raise SetupError(f"--out: {error}") from None
    return found


async def _measured(
    engine: Calibrated, prompts: dict[str, list[str]], sweep: Sweep, name: str, progress: Report
) -> dict[str, object]:
    speculative = await measure(engine.url, engine.model, prompts, sweep, engine.api_key, progress=progress)
    vanilla = None
    if engine.vanilla_url is not None:
        key = key_for(engine.vanilla_url, engine.vanilla_api_key, engine.url, engine.api_key)
        vanilla = await measure(engine.vanilla_url, engine.model, prompts, sweep, key, vanilla=True, progress=progress)
    provenance = (
        f"Measured on {engine.url}, B in {list(sweep.batches)}, k in {list(sweep.ks)}, {sweep.tokens} tokens each, "
        f"{sweep.rounds} rounds; acceptance at temperature {sweep.temperature}."
    )
    return calibration(name, provenance, speculative, vanilla, engine.drafter, engine.method)
