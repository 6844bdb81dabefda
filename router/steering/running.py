"""Wiring of steering: the stores it stands on, and one task that keeps a router in step with them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from policies.deployment import Deployment
from policies.event import Event
from policies.knowledge import Knowledge
from policies.replica import Replica
from router.config.traffic import DecisionSettings
from router.observe.telemetry import Telemetry
from router.state.outage import Outage
from router.state.redis_store import AsyncRedis, Keys
from router.state.store import Clock, StoreError
from router.steering.decision_log import DecisionLog, DecisionStore, MemoryDecisionStore, RedisDecisionStore
from router.steering.judge import Judge
from router.steering.pilot import Pilot
from router.steering.redis_versions import RedisVersionStore
from router.steering.slips import Slips
from router.steering.steering import Steering
from router.steering.store import MemoryVersionStore, VersionStore
from router.steering.trial_store import MemoryTrialStore, RedisTrialStore, TrialStore
from router.steering.witness import Witness

logger = logging.getLogger("alpharoute.steering")

DECISIONS = DecisionSettings()


class Engines(Protocol):
    """The engines that a router knows."""

    def models(self) -> Sequence[str]:
        """What they serve."""

    def replicas(self, model: str) -> Sequence[Replica]:
        """Those that serve a model, with their load."""


@dataclass(frozen=True, slots=True)
class SteeringStores:
    """Where routers share policies, trials and decisions."""

    versions: VersionStore
    trials: TrialStore
    decisions: DecisionStore


def memory_stores(settings: DecisionSettings = DECISIONS) -> SteeringStores:
    """Inside one process."""
    return SteeringStores(MemoryVersionStore(), MemoryTrialStore(time.monotonic), MemoryDecisionStore(settings.kept))


def redis_stores(redis: AsyncRedis, keys: Keys, settings: DecisionSettings) -> SteeringStores:
    """In Redis."""
    return SteeringStores(
        RedisVersionStore(redis, keys), RedisTrialStore(redis, keys), RedisDecisionStore(redis, keys, settings.kept)
    )


@dataclass(frozen=True, slots=True)
class Helm:
    """One router's part in steering."""

    steering: Steering
    pilot: Pilot
    witness: Witness
    log: DecisionLog
    judge: Judge
    slips: Slips

    def look(self) -> None:
        """Say what looks like a slip in the policy in use, unless that was said."""
        self.slips.look(self.pilot.version.id, self.pilot.knowledge.document)

    async def run(self, every_s: float) -> None:
        """Keep in step until cancelled."""
        task, outage = asyncio.current_task(), Outage()
        while task is not None and not task.cancelling():
            try:
                followed = await self.pilot.exchange()
                self.look()
                if followed:
                    await self.judge.exchange()
                    await self.log.flush()
            except StoreError as error:
                outage.failed(f"Redis takes no sums of trials and no decisions: {error}", time.monotonic())
            except Exception:
                # This loop is all that keeps routers in step.
                logger.exception("a round of steering failed")
                outage.failed("a round of steering failed", time.monotonic())
            else:
                outage.ended(time.monotonic())
            await asyncio.sleep(max(outage.pause_s(every_s), self.pilot.pause_s(every_s)))


def helm(
    stores: SteeringStores,
    settings: DecisionSettings,
    policy_file: Path | None,
    knowledge: Knowledge,
    telemetry: Telemetry,
    engines: Engines,
    announce: Callable[[Event], None],
    clock_s: Clock,
    name: str,
    deployment: Callable[[], Deployment],
) -> Helm:
    """A router's part; `announce` takes events for operators, `deployment` says what a policy may name."""
    router = f"{name}-{uuid4().hex[:6]}"
    pilot = Pilot(
        stores.versions, knowledge, telemetry, clock_s, "settings" if policy_file is None else "file", announce
    )
    log = DecisionLog(stores.decisions, router, settings.per_s, engines.replicas, clock_s)

    def everyone() -> Iterable[Replica]:
        return (replica for model in engines.models() for replica in engines.replicas(model))

    steering = Steering(stores.versions, stores.trials, log, pilot, everyone, router, clock_s, announce)
    witness = Witness(pilot, log, telemetry, clock_s)
    judge = Judge(steering, pilot, stores.trials, router, steering.limits)
    return Helm(steering, pilot, witness, log, judge, Slips(deployment))


@contextlib.asynccontextmanager
async def steered(part: Helm, every_s: float) -> AsyncIterator[Helm]:
    """Keep a router in step for as long as the context lasts; what waits to be written is written at its end."""
    await part.pilot.exchange()
    part.look()
    task = asyncio.create_task(part.run(every_s))
    try:
        yield part
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await part.log.flush()
