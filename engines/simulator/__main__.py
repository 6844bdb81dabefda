"""`python -m engines.simulator`: one simulated engine in a process of its own."""

import argparse
import asyncio
import json
import os
import signal
import sys
from importlib import import_module
from typing import cast

import uvloop
from pydantic import ValidationError

from engines.simulator.calibration import shipped_calibrations
from engines.simulator.engine import SimulatedEngine
from engines.simulator.failures import Failure
from engines.simulator.server import SimulatorServer
from engines.simulator.settings import SimulatorSettings
from engines.simulator.tasks import ReadTask, read_task

OWN_OPTIONS = frozenset({"host", "port", "drain_s", "failure", "task_reader"})
"""Options that are not settings of the engine."""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port; the URL is printed")
    parser.add_argument("--drain-s", type=float, default=30.0, help="how long running requests may finish on SIGTERM")
    parser.add_argument("--failure", action="append", default=[], help='e.g. \'{"kind": "hang", "requests": 3}\'')
    parser.add_argument("--task-reader", help="MODULE:FUNCTION, prompt text in, task name out")
    for name, field in SimulatorSettings.model_fields.items():
        about = f"{field.description or ''} (default {field.default!r})".strip()
        if name == "calibration":
            about = f"a YAML file or one of {', '.join(shipped_calibrations())} (default {field.default!r})"
        parser.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=about.replace("%", "%%"))
    return parser


def _reader(path: str | None) -> ReadTask:
    if path is None:
        return read_task
    module, _, function = path.partition(":")
    return cast(ReadTask, getattr(import_module(module), function))


def _engine(options: dict[str, object]) -> SimulatedEngine:
    # As with vLLM's server the key may come by environment, where `ps` does not show it.
    key = {"api_key": os.environ["VLLM_API_KEY"]} if os.environ.get("VLLM_API_KEY") else {}
    own = {name: value for name, value in options.items() if name not in OWN_OPTIONS}
    settings = SimulatorSettings.model_validate(key | own)
    orders = tuple(Failure.model_validate_json(order) for order in cast(list[str], options["failure"]))
    reader = _reader(cast(str | None, options["task_reader"]))
    return SimulatedEngine(settings, task_reader=reader, failures=orders)


async def _serve(engine: SimulatedEngine, host: str, port: int, drain_s: float) -> None:
    server = SimulatorServer(engine, on_exit=os._exit)
    stopping = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    print(json.dumps({"url": await server.start(host, port)}), flush=True)
    await stopping.wait()
    await server.stop(drain_s)


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    parts = ((".".join(map(str, one["loc"])), one["msg"], one["input"]) for one in error.errors())
    return "; ".join(f"{field}: {message}, got {value!r}" if field else message for field, message, value in parts)


def main() -> int:
    """Serve until SIGTERM; 2 with one line on stderr where an option does not fit or the port is taken."""
    options = vars(_arguments().parse_args())
    try:
        uvloop.run(_serve(_engine(options), options["host"], options["port"], options["drain_s"]))
    except (ValueError, OSError, ImportError, AttributeError) as error:
        print(f"simulator: {_reason(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
