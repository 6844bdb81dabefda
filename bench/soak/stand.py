"""What is soaked: the service as `alpharoute serve` runs it, over engines and a Redis that the run itself can kill."""

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil

from bench.processes import router_processes
from bench.soak.engine import PLACES
from engines.child import die_with_parent
from engines.ports import free_port
from router.config.load import load_settings
from router.local.embedded_redis import EmbeddedRedis
from router.local.service import LocalService

MODEL = "soak"
POOLS = (("vanilla", None), ("draft", "small"))
ENGINES_PER_POOL = 2


@dataclass(slots=True)
class Engine:
    """One engine process on a port of its own, and what it wrote down."""

    name: str
    drafter: str | None
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.spawn()
        self.wait()

    def spawn(self) -> None:
        """Start its process; from the main thread, for it is ended with the thread that started it."""
        command = [sys.executable, "-m", "bench.soak.engine", str(self.port), str(self.log), MODEL]
        self.process = subprocess.Popen(
            [*command, *([self.drafter] if self.drafter else [])],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),
        )

    def wait(self) -> None:
        """Until it listens; RuntimeError where it ends instead."""
        assert self.process is not None, "spawn it first"
        assert self.process.stdout is not None, "it was opened as a pipe"
        if not self.process.stdout.readline():
            raise RuntimeError(f"engine {self.name} ended with status {self.process.wait()}")

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None, "it was opened as a pipe"
            self.process.stdout.close()
            self.process = None

    def inside(self) -> int:
        """Requests it runs or holds now."""
        with urllib.request.urlopen(f"{self.url}/simulator/state", timeout=5) as answer:
            state = orjson.loads(answer.read())
        return int(state["running"]) + int(state["waiting"])


@dataclass(slots=True)
class Stand:
    """Everything that runs; `url` is where clients ask."""

    url: str
    engines: list[Engine]
    redis: EmbeddedRedis

    def routers(self) -> list[psutil.Process]:
        """The router replicas' processes, oldest first."""
        return router_processes()

    def stop_redis(self, sig: signal.Signals) -> None:
        """Kill it, or (SIGSTOP) let it hang with its connections open."""
        if self.redis.pid is not None:
            os.kill(self.redis.pid, sig)

    def resume_redis(self) -> None:
        """Let it go on, or start it again where it was killed."""
        if self.redis.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.redis.pid, signal.SIGCONT)
        self.redis.revive()


@contextlib.contextmanager
def stand(folder: Path, routers: int) -> Iterator[Stand]:
    """Start it all and wait until it answers; end it whole."""
    with contextlib.ExitStack() as stack:
        engines = [
            Engine(f"{pool}-{i}", drafter, folder / f"{pool}-{i}.log")
            for pool, drafter in POOLS
            for i in range(ENGINES_PER_POOL)
        ]
        for engine in engines:
            stack.callback(engine.kill)
            engine.start()
        redis = stack.enter_context(EmbeddedRedis())
        settings = load_settings(
            None,
            {
                "pools": [_pool(pool, drafter, engines) for pool, drafter in POOLS],
                "listen": {"port": free_port()},
                "redis": {"url": redis.url},
                "router": {"replicas": routers},
                "resilience": {"breaker_backoff_max_s": 5},
            },
        )
        service = stack.enter_context(LocalService(settings))
        service.wait(lambda seen: None)
        yield Stand(service.url, engines, redis)


def _pool(name: str, drafter: str | None, engines: list[Engine]) -> dict[str, object]:
    urls = [engine.url for engine in engines if engine.name.startswith(name)]
    speculative = {"method": "draft_model", "drafter": drafter, "k_max": 4} if drafter else {}
    shared = {"model": MODEL, "engine": "url", "self_check": False, "probe": False, "max_running": PLACES}
    return {"name": name, "urls": urls, **shared, **speculative}
