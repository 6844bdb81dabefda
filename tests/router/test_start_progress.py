"""What a start shows where nobody watches a terminal."""

import io

from rich.console import Console

from engines.registry import WARNED
from router.local.progress import StartProgress
from router.local.service import Seen


def test_a_warning_is_told_once() -> None:
    """A phase is printed when it changes; what preflight warned of, which each phase repeats, with the first alone."""
    shown = io.StringIO()
    warned = f"{WARNED}memory: tight)"
    phases = [f"loading{warned}", f"loading{warned}", f"measuring{warned}", f"loading{WARNED}context: long)", "ready"]
    with StartProgress(Console(file=shown, width=120)) as progress:
        for phase in phases:
            progress.show(Seen({"engine-a": phase, "engine-b": f"waiting{warned}"}, ready=False))
    said = [line.split("s  ", 1)[1] for line in shown.getvalue().splitlines()]
    assert said == [
        "engine-a: loading (preflight: memory: tight)",
        "engine-b: waiting (preflight: memory: tight)",
        "engine-a: measuring",
        "engine-a: loading (preflight: context: long)",
        "engine-a: ready",
    ]
