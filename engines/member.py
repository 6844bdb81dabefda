"""The life of one engine in the fleet: started, verified, announced while it answers, drained, withdrawn."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp

from engines.engine import Engine
from engines.hardware import shared_hardware
from engines.pool import PoolSettings
from engines.preflight.revision import revision_of
from engines.preflight.sampling import sampling_of
from engines.preflight.starting import refuse_unfit
from engines.registry import WARNED, Heartbeat, Registry, Sampling, State
from engines.sleep import fall_asleep, wake_up
from engines.stall import TEST_SHARE, StalledError, StillWatch, generates
from engines.turn import Turn
from engines.verification import Verified, verify
from engines.vllm_command import max_running
from engines.vllm_load import EngineLoad

logger = logging.getLogger("alpharoute.engines")

IDLE = EngineLoad(0, 0, 0.0)

LOG_EVERY_S = 60.0
"""How often it is told that a replica is not announced: routers forget it meanwhile."""


class LeftEarlyError(Exception):
    """A replica that was told to leave before it was ready."""


@dataclass(frozen=True, slots=True)
class Announcing:
    """How often a replica announces itself, and for how long one announcement holds; seconds."""

    every_s: float = 0.5
    ttl_s: float = 5.0
    read_s: float = 1.0
    """Routers read announcements at least this often."""

    @property
    def notice_s(self) -> float:
        """When every router has read what was announced now."""
        return max(self.read_s, 2 * self.every_s)


class Member:
    """Runs one engine of a pool as the replica `name`."""

    def __init__(
        self, name: str, pool: PoolSettings, engine: Engine, registry: Registry, announcing: Announcing
    ) -> None:
        self.name = name
        self._pool = pool
        self._engine = engine
        self._registry = registry
        self._announcing = announcing
        self._hardware = shared_hardware(pool)
        self._max_running = max_running(pool) if pool.engine == "vllm" else pool.max_running
        self._state: State = "starting"
        self._phase = ""
        self._verified = Verified(pool.vllm.max_model_len)
        self._ready_since_s = 0.0
        self._revisions: tuple[str | None, str | None] = (None, None)
        self._sampling = Sampling()
        self._warned = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._still = StillWatch()
        self._failed = asyncio.Event()
        self._quiet_until_s = 0.0
        self.load = IDLE
        self.said: Heartbeat | None = None
        """The last announcement, whether the registry heard it or not."""
        self.failure: Exception | None = None

    async def join(self) -> None:
        """Start the engine, verify and measure it, and announce it as ready; raises what the engine's start raises.

        LeftEarlyError where `leave` was called meanwhile: that wins, and ends the start.
        """
        starting = asyncio.create_task(self._start())
        self._tasks += [starting, asyncio.create_task(self._announce())]
        try:
            await starting
        except BaseException as error:
            if self._state == "starting":
                await self._leave()
            if self._state == "starting" or _cancelled():
                raise
            raise LeftEarlyError(f"{self.name} was told to leave before it was ready") from error
        self._watching = asyncio.create_task(self._watch())

    async def _start(self) -> None:
        await self._examine()
        await self._engine.start()
        await self._read_models()
        await self._while_alive(self._verify())
        if self._state == "starting":
            self._still.reset()
            self._state, self._phase, self._ready_since_s = "ready", "", time.time()
            await wake_up(self._pool, self._registry)

    async def _reload(self) -> None:
        """End the engine once it has finished what it runs, and start it anew as its settings say.

        Where it does not come back, the replica has failed as if the engine had died.
        """
        self._state, self._phase = "draining", "reloading"
        await _ended(self._watching)
        try:
            await self._drain(self._pool.drain_s)
            self._state, self._phase = "starting", ""
            await self._engine.stop()
            await self._start()
        except Exception as error:
            await self._give_up(error)
        else:
            logger.info("%s is reloaded", self.name)
            self._watching = asyncio.create_task(self._watch())

    async def _examine(self) -> None:
        """Preflight, before a GPU is touched; raises EngineSettingsError where the engine could not start."""
        if self._pool.engine == "vllm":
            self._phase = "checking the models"
            warnings = await asyncio.to_thread(refuse_unfit, self._pool)
            for warning in warnings:
                logger.warning("%s: preflight: %s", self.name, warning)
            self._warned = f"{WARNED}{warnings[0]})" if warnings else ""
            self._phase = ""

    async def _read_models(self) -> None:
        """Which weights the engine has loaded, and how it samples; after its start, for vLLM may have fetched them."""
        pool = self._pool
        if pool.engine == "vllm":
            drafter = pool.drafter if pool.method != "custom_class" else None
            target = await asyncio.to_thread(revision_of, pool.target)
            self._revisions = target, await asyncio.to_thread(revision_of, drafter) if drafter else None
            self._sampling = await asyncio.to_thread(sampling_of, pool.target, pool.vllm.args)

    async def leave(self, drain_s: float) -> None:
        """Say that it drains, let running requests finish for `drain_s`, then end the engine and be forgotten."""
        reloading = self._reloading is not None and not self._reloading.done()
        served = self._state == "ready" or (reloading and self._state == "draining")
        self._state = "draining"
        await _ended(self._reloading)
        try:
            if served and self.failure is None:
                await self._drain(drain_s)
        finally:
            await self._leave()
            if served and self.failure is None:
                await fall_asleep(self._pool, self._heartbeat(IDLE), self._registry)

    async def failed(self) -> Exception:
        """Wait until the engine that was ready no longer serves; why."""
        await self._failed.wait()
        assert self.failure is not None
        return self.failure

    async def _drain(self, limit_s: float) -> None:
        with contextlib.suppress(Exception):  # Redis being away must not cost running requests their end
            await self._say(await self._load())
        await asyncio.sleep(self._announcing.notice_s)  # what routers sent meanwhile is drained too
        if not await self._engine.drain(limit_s):
            logger.warning("%s: requests were still running after %s s and are cut off", self.name, limit_s)

    async def _leave(self) -> None:
        await _ended(*self._tasks, self._watching)
        try:
            await self._engine.stop()
        finally:
            with contextlib.suppress(Exception):
                await self._registry.withdraw(self.name)

    async def _while_alive(self, work: Coroutine[None, None, None]) -> None:
        """Do the work, or raise how the engine died meanwhile: its last words say more than a refused connection."""
        working, dying = asyncio.ensure_future(work), asyncio.ensure_future(self._engine.died())
        try:
            await asyncio.wait((working, dying), return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                raise dying.result()
            await working
        finally:
            await _ended(working, dying)

    async def _verify(self) -> None:
        turn = Turn(self.name, self._engine.url, self._registry)
        self._verified = await verify(turn, self._pool, self._engine, self._max_running, self._enter)

    def _enter(self, phase: str) -> None:
        self._phase = phase

    def _doing(self) -> str:
        """What it is busy with while it starts, with what preflight had to say."""
        if self._state != "starting":
            return self._phase
        return (self._phase or self._engine.phase) + self._warned

    async def _watch(self) -> None:
        dying, stalling = asyncio.ensure_future(self._engine.died()), asyncio.ensure_future(self._stalled())
        try:
            done, _ = await asyncio.wait((dying, stalling), return_when=asyncio.FIRST_COMPLETED)
            failure = done.pop().result()
        finally:
            await _ended(dying, stalling)
        await self._give_up(failure)

    async def _give_up(self, failure: Exception) -> None:
        self.failure = failure
        logger.error("%s: %s", self.name, failure)
        self._failed.set()
        with contextlib.suppress(Exception):
            await self._registry.withdraw(self.name)

    async def _stalled(self) -> Exception:
        """Return when the engine stands still for the pool's `stall_s` and then answers no test request either."""
        engine, limit_s = self._engine, self._pool.stall_s
        while True:
            await asyncio.sleep(max(0.0, limit_s - self._still.still_s))
            if self._still.still_s < limit_s:
                continue
            if await generates(engine.url, engine.api_key, self._pool.model, limit_s * TEST_SHARE):
                self._still.reset()
            elif self._still.still_s >= limit_s:
                return StalledError(self._still.still_s)

    async def _announce(self) -> None:
        """Announce until cancelled; an engine that does not answer stays silent, and is gone when its time runs out."""
        # redis-py may swallow a cancellation while it connects: the count of requests for it is what holds.
        while self.failure is None and not _cancelled():
            try:
                await self._say(IDLE if self._state == "starting" else await self._load())
            except Exception as error:
                if time.monotonic() >= self._quiet_until_s:
                    self._quiet_until_s = time.monotonic() + LOG_EVERY_S
                    logger.warning("%s is not announced: %s: %s", self.name, type(error).__name__, error)
            await asyncio.sleep(self._announcing.every_s)

    async def _load(self) -> EngineLoad:
        try:
            load = await self._engine.load()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            if self._state == "draining":
                return IDLE
            raise
        self._still.observe(load)
        return load

    @property
    def _reloadable(self) -> bool:
        return self._pool.engine != "url"  # whoever runs that server restarts it

    async def _say(self, load: EngineLoad) -> None:
        self.load, self.said = load, self._heartbeat(load)
        asked = await self._registry.announce(self.said, self._announcing.ttl_s)
        if asked and self._state == "ready" and self._reloadable:
            self._reloading = asyncio.create_task(self._reload())

    def _heartbeat(self, load: EngineLoad) -> Heartbeat:
        pool = self._pool
        return Heartbeat(
            replica=self.name,
            pool=pool.name,
            model=pool.model,
            loras=tuple(pool.loras),
            target=pool.target,
            target_revision=self._revisions[0],
            drafter=pool.drafter,
            drafter_revision=self._revisions[1],
            method=pool.method,
            k_max=pool.k_max,
            url=self._engine.url,
            api_key=self._engine.api_key,
            state=self._state,
            phase=self._doing(),
            running=load.running,
            waiting=load.waiting,
            kv_usage=load.kv_usage,
            max_running=self._max_running,
            max_context_tokens=self._verified.context_tokens,
            sampling=self._sampling,
            sampled_speculation=self._verified.sampled_speculation,
            probe=self._verified.probe,
            hardware=self._hardware,
            reloadable=self._reloadable,
            ready_since_s=self._ready_since_s,
            clock_s=time.time(),
        )


async def _ended(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel these tasks, and wait until they have ended."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _cancelled() -> bool:
    """Whether the running task was asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
