"""One vLLM server as a child process: started, watched, drained and ended without leaving anything behind."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import aiohttp

from engines.http import engine_session
from engines.pool import PoolSettings
from engines.ports import free_port
from engines.vllm_command import Command, build_command
from engines.vllm_errors import EngineDiedError, EngineStartTimeoutError, PortInUseError
from engines.vllm_guard import PID_LINE
from engines.vllm_load import EngineLoad, read_load
from engines.vllm_log import LogTail, phase_of

PORT_TRIES = 3
POLL_S = 0.2
HTTP_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What vLLM is busy with while it starts."""

    phase: str
    elapsed_s: float


def ignore(progress: Progress) -> None:
    """Tell nobody."""


class CommandBuilder(Protocol):
    """How a pool becomes a process; anything with /health and vLLM's /metrics will do."""

    def __call__(self, pool: PoolSettings, *, host: str, port: int, api_key: str) -> Command:
        """The command that serves `pool` at host:port and demands `api_key`."""


class EngineServer:
    """vLLM's own server for one pool; use `async with`, or `start` and `stop`.

    Listens on `host` only, on a port of its own choice unless `port` is given, and demands `api_key`, made here.
    `target` and `drafter` of the pool are folders or hub ids ("demo" is resolved by the caller).
    """

    def __init__(
        self,
        pool: PoolSettings,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        log_file: Path | None = None,
        on_progress: Callable[[Progress], None] = ignore,
        build: CommandBuilder = build_command,
    ) -> None:
        self.pool = pool
        self.host = host
        self.port = port or 0
        self.api_key = secrets.token_urlsafe(24)
        self.phase = "starting"
        self._port_is_fixed = port is not None
        self._on_progress = on_progress
        self._build = build
        self._log_file = log_file
        self._log = LogTail()
        self._started_s = 0.0
        self._guard: Process | None = None
        self._group: int | None = None
        self._output: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Base URL, without /v1; known once `start` has chosen the port."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def group(self) -> int | None:
        """The process group that all of vLLM's processes are in; None before the start."""
        return self._group

    def tail(self) -> tuple[str, ...]:
        """The last lines of vLLM's output, 200 at most."""
        return tuple(self._log.lines)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop(grace_s=0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start vLLM and wait until it is healthy; another port is tried where the chosen one was taken meanwhile.

        Raises the errors of `engines.vllm_errors`; nothing is left running then.
        """
        self._started_s = time.monotonic()
        for tries_left in reversed(range(1 if self._port_is_fixed else PORT_TRIES)):
            self.port = self._claim_port()
            try:
                await self._spawn()
                await self._until_healthy()
                return
            except BaseException as error:
                await self.stop(grace_s=0)
                if not (isinstance(error, EngineDiedError) and self._log.port_taken()):
                    raise
                if not tries_left:
                    raise PortInUseError(f"pool {self.pool.name!r}: port {self.port} is in use") from error

    async def died(self) -> EngineDiedError:
        """Wait for the process to end, and say how: the supervisor's one call. Cancel it before `stop`."""
        guard = self._running_guard()
        await _end_of(guard)
        self._kill()
        code = await guard.wait()
        if self._output is not None:
            await asyncio.shield(self._output)
        return EngineDiedError(self.pool.name, code, self.tail())

    async def load(self) -> EngineLoad:
        """How busy the engine is now; raises aiohttp.ClientError or TimeoutError where it does not answer."""
        return await read_load(self._http(), self.url, self.api_key)

    async def drain(self, limit_s: float) -> bool:
        """Wait until nothing runs or waits, `limit_s` at most; whether it came to that. The caller sends no more."""
        deadline_s = time.monotonic() + limit_s
        while busy := await self._busy():
            if time.monotonic() >= deadline_s:
                break
            await asyncio.sleep(POLL_S)
        return not busy

    async def stop(self, grace_s: float = 15.0) -> None:
        """End vLLM: politely, then after `grace_s` by force, with every process it started. Safe to repeat."""
        if self._guard is not None and self._guard.returncode is None:
            _signal(self._guard, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await _end_of(self._guard)
        self._kill()
        if self._guard is not None:
            await self._guard.wait()
        if self._output is not None:
            await self._output
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _claim_port(self) -> int:
        try:
            if not self._port_is_fixed:
                return free_port(self.host)
            with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
        except OSError as error:
            where = f"{self.host!r}, port {self.port or 'any'}"
            raise PortInUseError(f"pool {self.pool.name!r}: cannot listen on {where}: {error}") from error
        return self.port

    async def _spawn(self) -> None:
        command = self._build(self.pool, host=self.host, port=self.port, api_key=self.api_key)
        self._log, self._group = LogTail(self._log_file), None
        self._enter("starting")
        self._guard = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engines.vllm_guard"),
            *command.argv,
            env=dict(command.env),
            stdin=PIPE,  # the guard's lifeline: closed by the kernel when we end
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is ours to handle
        )
        self._output = asyncio.create_task(self._read_output(self._guard, self._log))

    async def _read_output(self, guard: Process, log: LogTail) -> None:
        assert guard.stdout is not None
        while chunk := await guard.stdout.read(65536):
            for line in log.feed(chunk):
                if line.startswith(PID_LINE):
                    self._group = int(line.removeprefix(PID_LINE))
                elif (phase := phase_of(line)) and phase != self.phase:
                    self._enter(phase)
        log.close()

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self._on_progress(Progress(phase, time.monotonic() - self._started_s))

    async def _until_healthy(self) -> None:
        limit_s = self.pool.vllm.start_timeout_s
        died = asyncio.create_task(self.died())
        healthy = asyncio.create_task(self._poll_health())
        try:
            await asyncio.wait({died, healthy}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if died.done():
                raise died.result()
            if not healthy.done():
                raise EngineStartTimeoutError(self.pool.name, limit_s, self.phase, self.tail())
            self._enter("ready")
        finally:
            died.cancel()
            healthy.cancel()
            await asyncio.gather(died, healthy, return_exceptions=True)

    async def _poll_health(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._http().get(f"{self.url}/health") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(POLL_S)

    async def _busy(self) -> bool:
        try:
            load = await self.load()
        except (aiohttp.ClientError, TimeoutError):
            return self._running_guard().returncode is None  # a dead engine has nothing left to finish
        return load.running + load.waiting > 0

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = engine_session(HTTP_LIMIT_S)
        return self._session

    def _kill(self) -> None:
        """End the guard and vLLM's whole group, whatever is left of them."""
        if self._guard is not None:
            _signal(self._guard, signal.SIGKILL)
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, signal.SIGKILL)
            self._group = None

    def _running_guard(self) -> Process:
        if self._guard is None:
            raise RuntimeError("the engine has not been started")
        return self._guard


def _signal(process: Process, number: signal.Signals) -> None:
    """Send a signal; asyncio's own methods reap a process that has just ended, and its exit code is lost."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def _end_of(process: Process) -> None:
    """Wait until the process has ended; `Process.wait` waits for its pipes too, which its orphans may hold open."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
