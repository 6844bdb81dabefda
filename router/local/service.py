"""Everything on one machine: Redis, Ray with HAProxy, the pools, the router; started with progress, ended whole."""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import orjson
from pydantic import SecretStr

from engines.registry import TRYING_AGAIN
from router.access.exposure import check_local
from router.config.settings import EMBEDDED, Settings
from router.data_path import FASTEST_PATH
from router.direct import open_url
from router.errors import SetupError
from router.local.embedded_redis import EmbeddedRedis
from router.local.haproxy import end_haproxies, serve_variables
from router.local.interrupts import interruptible, uninterrupted
from router.local.leftovers import claim, scratch_folder, sweep
from router.local.log_folder import LogFolder, log_folder
from router.state.redis_client import check_answers

if TYPE_CHECKING:
    from ray.serve import RunTarget

APP = "alpharoute"
ENGINE = "engine-"
POLL_S = 0.5
READY_LIMIT_S = 1200.0
HEARD_LIMIT_S = 10.0
DRAIN_POLL_S = 0.2
DRAIN_MARGIN_S = 15.0
"""What Serve takes to stop a deployment beyond the time that its replicas may take."""

logger = logging.getLogger("alpharoute.local")

RAY_ENV = {
    **dict.fromkeys(FASTEST_PATH, "1"),
    # A router replica that ends waits this long for load balancers to notice; here HAProxy is told at once.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's way to say that no other machine takes part: all of its own ports are then bound to loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Each shutdown of Serve kills its controller in the middle of this very call, which Ray prints as a failure.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "ServeController.graceful_shutdown failed",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a start is: each pool's (and the router's) phase by name, and whether requests are answered.

    `running`: by pool, how many of its replicas Serve has running.
    """

    phases: Mapping[str, str]
    ready: bool
    running: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class LocalService:
    """The whole product on this machine; a context manager that leaves nothing running.

    `scratch` is below a path that nobody else uses; `_owner` says so while this process lives.
    """

    settings: Settings
    scratch: Path = field(default_factory=scratch_folder)
    _owner: TextIO | None = None
    _logs: LogFolder | None = None
    _redis: EmbeddedRedis | None = None
    _ray: bool = False
    _deployed: bool = False

    @property
    def url(self) -> str:
        """Where clients connect."""
        listen = self.settings.listen
        host = "127.0.0.1" if listen.host == "0.0.0.0" else listen.host
        return f"http://{host}:{listen.port}"

    @property
    def logs(self) -> Path | None:
        """The folder of its processes' logs, which outlives it; None before its start."""
        return self._logs.path if self._logs else None

    def __enter__(self) -> Self:
        try:
            check_local(self.settings)
            sweep()  # what a killed service left may hold the port
            self._owner = claim(self.scratch)
            self._check_port()
            self._start_redis()
            self._logs = log_folder()
            self._start_ray()
        except BaseException as error:
            self._keep_logs(error)
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._keep_logs(error)
        self.stop()

    def _keep_logs(self, error: BaseException) -> None:
        if self._logs is not None and isinstance(error, Exception):
            self._logs.keep(self.scratch / "ray")

    def wait(self, show: Callable[[Seen], None], limit_s: float = READY_LIMIT_S) -> None:
        """Until every model can be asked; raises SetupError with Serve's reason where that cannot come."""
        deadline_s = time.monotonic() + limit_s
        while True:
            seen = self.look()
            show(seen)
            if seen.ready:
                self._until_heard(seen.running, min(deadline_s, time.monotonic() + HEARD_LIMIT_S))
                return
            if time.monotonic() > deadline_s:
                raise SetupError(f"Not ready after {limit_s:.0f} s: {dict(seen.phases)}")
            time.sleep(POLL_S)

    def _until_heard(self, running: Mapping[str, int], deadline_s: float) -> None:
        """Until every router can send requests to all engines that Serve has started: a heartbeat later, at most.

        `running`: replicas by pool. A server by URL that is not there has been heard of once that is said.
        """
        heard: set[str] = set()
        while len(heard) < self.settings.router.replicas and time.monotonic() < deadline_s:
            ready, page = self._ready_page()
            known = Counter(row["pool"] for row in page.get("replicas", ()) if _is_known(row))
            if ready and page["router"] not in heard and known >= Counter(running):
                heard.add(page["router"])
            else:
                time.sleep(POLL_S)

    def _ready_page(self) -> tuple[bool, dict[str, Any]]:
        """Whether a router is ready, and what its page says; each connection may reach another of them."""
        try:
            with open_url(f"{self.url}/ready", 2) as answer:
                ready, body = True, answer.read()
        except urllib.error.HTTPError as error:
            ready, body = False, error.read()
        except OSError:
            return False, {}
        try:
            page = orjson.loads(body)
        except orjson.JSONDecodeError:
            return False, {}
        return (ready, page) if isinstance(page, dict) and "router" in page else (False, {})

    def watch(self, tell: Callable[[str], None]) -> None:
        """Keep what this process itself runs alive, until it is interrupted; Serve looks after the rest."""
        while True:
            time.sleep(POLL_S)
            if self._redis is not None and self._redis.revive():
                tell("redis-server had ended and was started again.")

    def look(self) -> Seen:
        """What Serve and the router say now; raises SetupError where a deployment failed for good."""
        from ray import serve
        from ray.serve.schema import ApplicationStatus

        application = serve.status().applications.get(APP)
        if application is None:
            return Seen({}, False)
        if application.status == ApplicationStatus.DEPLOY_FAILED:
            said = ((name, status.message) for name, status in application.deployments.items())
            reasons = [f"{name}: {last_words(why)}" for name, why in said if why]
            raise SetupError("\n".join(reasons) or last_words(application.message))
        phases = {name: str(status.status.value).lower() for name, status in application.deployments.items()}
        running = {
            name.removeprefix(ENGINE): status.replica_states.get("RUNNING", 0)
            for name, status in application.deployments.items()
            if name.startswith(ENGINE)
        }
        return Seen({**phases, **self._engine_phases()}, application.status == ApplicationStatus.RUNNING, running)

    def stop(self) -> None:
        """End everything that was started, whatever goes wrong with a part of it; safe to repeat.

        Requests in flight may finish, as long as the pools' and the router's `drain_s` say; an interrupt meanwhile
        ends that wait. From then on interrupts are held back: what is being ended must not be left half ended.
        """
        with contextlib.ExitStack() as ending:
            ending.enter_context(uninterrupted())
            ending.callback(_remove, self.scratch)
            if self._logs is not None:
                ending.callback(self._logs.end)
            if self._owner is not None:
                ending.callback(self._owner.close)
            ending.callback(self._stop_redis)
            # Serve forgets a worker that a reload displaced and that still serves a connection.
            ending.callback(end_haproxies, self.scratch)
            ending.callback(self._stop_ray)
            if self._deployed:
                self._deployed = False
                with contextlib.suppress(KeyboardInterrupt), interruptible():
                    self._drain()

    def _drain(self) -> None:
        """Take the application down and wait; `serve.shutdown` gives replicas 30 s, whatever they were promised."""
        from ray import serve

        from engines.replica import STOP_S

        longest_s = max(pool.drain_s + STOP_S for pool in self.settings.pools)
        deadline_s = time.monotonic() + max(self.settings.router.drain_s, longest_s) + DRAIN_MARGIN_S
        serve.delete(APP, _blocking=False)
        while APP in serve.status().applications:
            if time.monotonic() > deadline_s:
                logger.warning("Requests were still running after their time to drain, and are cut off.")
                return
            time.sleep(DRAIN_POLL_S)

    def _stop_ray(self) -> None:
        if not self._ray:
            return
        import ray
        from ray import serve

        self._ray = False
        with contextlib.ExitStack() as ending:
            ending.callback(ray.shutdown)
            serve.shutdown()

    def _stop_redis(self) -> None:
        redis, self._redis = self._redis, None
        if redis is not None:
            redis.stop()

    def _check_port(self) -> None:
        listen = self.settings.listen
        if ":" in listen.host:
            # Ray Serve starts there, and then answers every request with a 500.
            raise SetupError(f"listen.host must be an IPv4 address or a name, not {listen.host!r}: Ray Serve needs it.")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((listen.host, listen.port))
            except OSError as error:
                raise SetupError(
                    f"listen: cannot use {listen.host}:{listen.port} ({error.strerror}). "
                    "Choose another port: --port, or ALPHAROUTE_LISTEN__PORT."
                ) from None

    def _start_redis(self) -> None:
        if self.settings.redis.url.get_secret_value() == EMBEDDED:
            self._redis = EmbeddedRedis(self.settings.redis.directory).start()
            redis = self.settings.redis.model_copy(update={"url": SecretStr(self._redis.url)})
            self.settings = self.settings.model_copy(update={"redis": redis})
        else:
            asyncio.run(check_answers(self.settings.redis))

    def _start_ray(self) -> None:
        haproxy = serve_variables(self.scratch / "h", self.settings.listen.port, self.settings.limits)
        for name, value in {**RAY_ENV, **haproxy}.items():
            os.environ.setdefault(name, value)
        assert self._logs is not None
        self._logs.tell()
        os.environ.pop("RAY_ADDRESS", None)  # somebody's cluster, which is not to be joined
        # Ray reads its environment when it is imported, so that comes after; the import sets this level anew.
        import ray
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)

        from router.app import ROUTER_CPUS, application_of
        from router.console.deployment import CPUS as CONSOLE_CPUS

        pools, routers = self.settings.pools, self.settings.router.replicas
        cpus = sum(pool.cpus * pool.replicas for pool in pools) + ROUTER_CPUS * routers + CONSOLE_CPUS
        self._ray = True
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, int(cpus) + 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=128 * 1024 * 1024,
            _temp_dir=str(self.scratch / "ray"),
        )
        serve.start(http_options={"host": self.settings.listen.host, "port": self.settings.listen.port})
        serve.run_many(
            [serve.RunTarget(application_of(self.settings), name=APP, route_prefix="/"), *self._console()],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        self._deployed = True

    def _console(self) -> list["RunTarget"]:
        """The console, where it is wanted; on a port of its own it needs no route."""
        from ray.serve import RunTarget

        from router.console.deployment import APP as CONSOLE_APP
        from router.console.deployment import build_console
        from router.console.place import own_place
        from router.roles import CONSOLE

        if not self.settings.console.enabled:
            return []
        route = CONSOLE if own_place(self.settings) is None else None
        return [RunTarget(build_console(self.settings), name=CONSOLE_APP, route_prefix=route)]

    def _engine_phases(self) -> dict[str, str]:
        rows = self._ready_page()[1].get("replicas", ())
        return {f"{ENGINE}{row['pool']}": row["phase"] or row["state"] for row in rows}


def _is_known(row: Mapping[str, str]) -> bool:
    return row["state"] == "ready" or row["phase"].startswith(TRYING_AGAIN)


def _remove(folder: Path, limit_s: float = 5.0) -> None:
    """Delete a folder into which processes that are just ending may still write."""
    deadline_s = time.monotonic() + limit_s
    while folder.exists() and time.monotonic() < deadline_s:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


def last_words(message: str) -> str:
    """What a traceback ends with: Serve hands on whole tracebacks, wrapped in one another."""
    lines = [line for line in message.strip().splitlines() if line.strip()]
    said = [i for i, line in enumerate(lines) if not line.startswith((" ", "Traceback"))]
    return "\n".join(lines[said[-1] :]) if said else message
