"""What probe prompts teach: measured answers into the acceptance records, on demand and on a schedule."""

import asyncio
import hashlib
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engines.contract import EngineMetrics
from engines.engine_client import EngineClient, MeasurementError
from engines.http import engine_session
from policies.choice import Choice, Reason
from policies.knowledge import Knowledge
from policies.learning import Lesson, learn_acceptance
from policies.outcome import Outcome
from policies.records import Delta
from policies.replica import Pool, Replica
from policies.request import Request
from router.config.evaluation import EvaluationSettings
from router.config.settings import Settings
from router.probe_prompts import AUTO, probe_prompts
from router.state.store import Clock
from router.traffic.fleet import Fleet
from router.traffic.sharing import Sharing

logger = logging.getLogger("alpharoute.evaluation")

LAST = "probe:last"
"""The record whose ^at says when a router last began a round, so that of several only one does."""
LOOK_S = 60.0
"""How often a router looks whether a round is due, at a moment of its own."""
BUSY = 0.5
"""No probe goes to a replica that runs more than this share of what it can."""
HOUR_S = 3600.0


Prompts = Mapping[str, Sequence[str]]
"""Prompts by task."""


@dataclass(frozen=True, slots=True)
class Probed:
    """One answer to a probe."""

    task: str
    k: int
    temperature: float
    metrics: EngineMetrics


def lesson_of(probed: Probed, replica: Replica, knowledge: Knowledge, now_s: float) -> Lesson:
    """What an answer teaches of acceptance: as if a client had asked, drift watched; nothing of time, which a probe
    meets alone."""
    pool, metrics = replica.pool, probed.metrics
    request = Request(pool.model, probed.task, temperature=probed.temperature, prompt_tokens=metrics.prompt_tokens)
    key = knowledge.acceptance_key(request, pool, now_s)
    choice = Choice(replica, probed.k, Reason.EXPLORE, key)
    outcome = Outcome(
        request,
        choice,
        output_tokens=metrics.output_tokens,
        generation_s=metrics.generation_ms / 1000,
        drafted=metrics.steps.drafted if metrics.steps else (),
        accepted=metrics.steps.accepted if metrics.steps else (),
    )
    return learn_acceptance(outcome, knowledge, now_s) if metrics.steps is not None else Lesson()


class Schedule:
    """Every so many hours, a few prompts of each task that has little traffic, to each speculative pool."""

    def __init__(
        self,
        settings: EvaluationSettings,
        prompts: Mapping[str, Prompts],
        fleet: Fleet,
        knowledge: Knowledge,
        sharing: Sharing,
        clock_s: Clock,
    ) -> None:
        self._settings = settings
        self._prompts = prompts
        self._fleet = fleet
        self._knowledge = knowledge
        self._sharing = sharing
        self._clock_s = clock_s
        self._rng = random.Random()

    async def run(self) -> None:
        """Look and probe until cancelled; returns at once where no schedule is set."""
        while self._settings.every_h is not None:
            await asyncio.sleep(LOOK_S * (0.5 + self._rng.random()))
            if self.due():
                try:
                    await self.round()
                except Exception:  # the schedule must outlive whatever an engine answers
                    logger.exception("a round of probes failed")

    def due(self) -> bool:
        """Whether the last round, any router's, is long enough ago."""
        if self._settings.every_h is None:
            return False
        last_s = self._knowledge.record(LAST).fields.get("^at", 0.0)
        return self._clock_s() - last_s >= self._settings.every_h * HOUR_S

    async def round(self) -> int:
        """One round: how many answers taught something."""
        self._sharing.learn(Lesson((Delta(LAST, {"^at": self._clock_s()}),)))
        learnt = 0
        async with engine_session() as session:
            for replica in self._replicas():
                endpoint = self._fleet.endpoint(replica.name)
                client = await EngineClient.opened(session, endpoint.url, replica.pool.model, endpoint.api_key)
                learnt += await self._probe(client, replica)
        if learnt:
            logger.info("probes: %d answers for tasks with little traffic", learnt)
        return learnt

    def _replicas(self) -> Iterable[Replica]:
        """A ready replica of each speculative pool."""
        pools = dict[str, Replica]()
        for model in self._fleet.models():
            for replica in self._fleet.replicas(model):
                if replica.state == "ready" and replica.pool.k_max > 0 and replica.pool.model == model:
                    pools.setdefault(replica.pool.name, replica)
        return pools.values()

    async def _probe(self, client: EngineClient, replica: Replica) -> int:
        learnt, temperature = 0, self._settings.temperature
        for task, texts in self._prompts.get(replica.pool.model, {}).items():
            if not self._thin(task, replica.pool):
                continue
            for text in self._rng.sample(list(texts), min(self._settings.per_task, len(texts))):
                if self._busy(replica):
                    return learnt
                k = replica.pool.k_max
                try:
                    metrics = await client.ask(
                        text, k=k, tokens=self._settings.tokens, temperature=temperature, task=task, chat=True
                    )
                except MeasurementError as error:
                    logger.warning("replica %s is not probed further: %s", replica.name, error)
                    return learnt
                probed = Probed(task, k, temperature, metrics)
                self._sharing.learn(lesson_of(probed, replica, self._knowledge, self._clock_s()))
                learnt += metrics.steps is not None
        return learnt

    def _thin(self, task: str, pool: Pool) -> bool:
        """Whether the task's decayed number of requests is below what a belief should stand on."""
        request = Request(pool.model, task, temperature=self._settings.temperature)
        return self._knowledge.curve(request, pool, self._clock_s()).requests < self._settings.below_requests

    def _busy(self, replica: Replica) -> bool:
        now = next((one for one in self._fleet.replicas(replica.pool.model) if one.name == replica.name), None)
        return now is None or now.state != "ready" or now.running > BUSY * now.max_running


def scheduled(settings: Settings, fleet: Fleet, knowledge: Knowledge, sharing: Sharing, clock_s: Clock) -> Schedule:
    """The schedule that the settings ask for, each model with prompts of its own where none are named.

    SetupError where the file of prompts holds none.
    """
    chosen = settings.evaluation
    prompts: dict[str, Prompts] = {}
    if chosen.every_h is not None:
        which = AUTO if chosen.prompts is None else str(chosen.prompts)
        prompts = {pool.model: probe_prompts(which, pool.model) for pool in settings.pools}
    return Schedule(chosen, prompts, fleet, knowledge, sharing, clock_s)


def fingerprint(prompts: Iterable[str]) -> str:
    """Twelve hex digits of the prompts, so that two evaluations can tell whether theirs were the same."""
    return hashlib.sha256("\0".join(prompts).encode()).hexdigest()[:12]
