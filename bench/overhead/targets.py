"""Starting what is measured: engines, the router alone, the whole service; each in processes of its own."""

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import yaml

from bench.overhead.client import KEY
from bench.overhead.measure import INSTANT, PACED, Target
from bench.processes import haproxies, router_processes, simulators
from engines.child import die_with_parent
from router.access.keys import hash_of
from router.config.load import load_settings
from router.local.service import LocalService

START_LIMIT_S = 60.0
BURST_STEPS = 16
"""Steps whose chunks the instant engine writes at once: below it the Python simulator is the bottleneck."""


@contextlib.contextmanager
def engines() -> Iterator[dict[str, str]]:
    """Simulators by pool name: a vanilla and a speculative one that answer at once, and a paced one."""
    instant = ["--model", INSTANT, "--calibration", "instant", "--burst-steps", str(BURST_STEPS)]
    arguments = {
        "instant": instant,
        "draft": [*instant, "--method", "draft_model", "--drafter", "small"],
        "paced": ["--model", PACED, "--calibration", "cpu-demo", "--time-scale", "5"],
    }
    with contextlib.ExitStack() as stack:
        urls: dict[str, str] = {}
        for name, given in arguments.items():
            _, line = stack.enter_context(_process("engines.simulator", *given))
            urls[name] = orjson.loads(line)["url"]
        yield urls


def simulated() -> dict[str, Callable[[], tuple[int, ...]]]:
    """The engines' processes, for the account of a request."""
    return {"engines": lambda: tuple(process.pid for process in simulators())}


def pools(urls: dict[str, str]) -> list[dict[str, Any]]:
    """The settings of pools over these engines."""
    shared = {"engine": "url", "self_check": False, "probe": False}
    return [
        {"name": "instant", "model": INSTANT, "urls": [urls["instant"]], **shared},
        {"name": "draft", "model": INSTANT, "urls": [urls["draft"]], "method": "draft_model", "k_max": 4, **shared},
        {"name": "paced", "model": PACED, "urls": [urls["paced"]], **shared},
    ]


@contextlib.contextmanager
def alone(urls: dict[str, str], folder: Path) -> Iterator[Target]:
    """The router in one uvicorn process, without Ray and Redis."""
    settings = folder / "alone.yaml"
    settings.write_text(yaml.safe_dump({"pools": pools(urls), "auth": {"keys_file": str(with_key(folder))}}))
    with _process("bench.overhead.served", str(settings)) as (process, line):
        url = line.strip()
        until_answers(f"{url}/ready")
        yield Target("router", {INSTANT: url, PACED: url}, (process.pid,), simulated())


@contextlib.contextmanager
def with_ray(urls: dict[str, str], folder: Path, port: int, routers: int = 1) -> Iterator[Target]:
    """The service as `alpharoute serve` runs it: Ray Serve with HAProxy, Redis, so many router replicas."""
    listen, router, auth = {"port": port}, {"replicas": routers}, {"keys_file": with_key(folder)}
    settings = load_settings(None, {"pools": pools(urls), "listen": listen, "router": router, "auth": auth})
    with LocalService(settings) as service:
        service.wait(lambda seen: None)
        pids = tuple(process.pid for process in router_processes())
        proxy = {"proxy": lambda: tuple(process.pid for process in haproxies())}
        yield Target(f"service-{routers}", {INSTANT: service.url, PACED: service.url}, pids, {**proxy, **simulated()})


def with_key(folder: Path) -> Path:
    """A keys file with the load generator's key, whose limits are counted and never reached."""
    limits = {"requests_per_minute": 10**9, "tokens_per_minute": 10**12, "concurrent": 10**6}
    file = folder / "keys.yaml"
    file.write_text(yaml.safe_dump({"keys": [{"id": "load", "hash": hash_of(KEY), "limits": limits}]}))
    return file


@contextlib.contextmanager
def _process(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python module as a child that prints one line when it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent()
    )
    try:
        assert process.stdout is not None, "it was opened as a pipe"
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"python -m {module} ended with status {process.wait()}")
        yield process, line
    finally:
        process.terminate()
        process.wait(timeout=START_LIMIT_S)
        if process.stdout is not None:
            process.stdout.close()


def until_answers(url: str) -> None:
    """Wait for a 200; RuntimeError where none comes."""
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{url} did not answer within {START_LIMIT_S:g} s")
