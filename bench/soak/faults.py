"""What goes wrong during a soak, and when."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.soak.stand import Stand

ENGINE_DOWN_S = 3.0
ROUTER_AFTER_REDIS_S = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what, to whom, and when (monotonic)."""

    kind: str
    subject: str
    at_s: float


@dataclass(slots=True)
class Faults:
    """Kills an engine every `engine_every_s`, takes Redis away twice, kills a router twice, within `length_s`."""

    stand: Stand
    length_s: float
    engine_every_s: float
    redis_away_s: float
    draws: random.Random
    done: list[Fault] = field(default_factory=list)

    async def run(self) -> None:
        """Do all of it; what was stopped is running again at the end."""
        third = self.length_s / 3
        await asyncio.gather(
            self._engines(),
            _after(third * 0.7, lambda: self._redis(signal.SIGKILL)),
            _after(third * 2, lambda: self._redis(signal.SIGSTOP)),
            _after(third * 0.5, self._router),
            # In the second outage: who comes then has nobody to ask but the engines.
            _after(third * 2 + ROUTER_AFTER_REDIS_S, self._router),
        )

    async def _engines(self) -> None:
        until_s = time.monotonic() + self.length_s - self.engine_every_s / 2
        while time.monotonic() + self.engine_every_s / 2 < until_s:
            await asyncio.sleep(self.engine_every_s / 2)
            engine = self.draws.choice(self.stand.engines)
            self._note("engine killed", engine.name)
            await asyncio.to_thread(engine.kill)
            await asyncio.sleep(ENGINE_DOWN_S)
            engine.spawn()
            await asyncio.to_thread(engine.wait)
            await asyncio.sleep(self.engine_every_s / 2 - ENGINE_DOWN_S)

    async def _redis(self, sig: signal.Signals) -> None:
        self._note("redis killed" if sig == signal.SIGKILL else "redis hangs", "redis")
        self.stand.stop_redis(sig)
        await asyncio.sleep(self.redis_away_s)
        # Not in a thread: a server that is started again ends with the thread that started it.
        self.stand.resume_redis()
        self._note("redis back", "redis")

    async def _router(self) -> None:
        routers = await asyncio.to_thread(self.stand.routers)
        if len(routers) > 1:  # the last one is never killed: nobody could answer
            victim = self.draws.choice(routers)
            self._note("router killed", str(victim.pid))
            victim.kill()

    def _note(self, kind: str, subject: str) -> None:
        self.done.append(Fault(kind, subject, time.monotonic()))


async def _after(wait_s: float, act: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(wait_s)
    await act()
