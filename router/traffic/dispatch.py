"""From a request to the first bytes of an engine's answer: choose, wait where the pool is full, send, try again."""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from engines.vllm_methods import ENSEMBLE
from policies.baselines import undecided
from policies.choice import Choice
from policies.errors import NoReplica
from policies.knowledge import Knowledge
from policies.policy import POLICIES
from policies.replica import Replica
from policies.request import Request
from policies.terms import Asked, Moment, asked_of, load_of
from router.api.deadline import TIMEOUT, Deadline
from router.api.request import Generation
from router.errors import EngineUnreachable, NoEngine, NotConnected, RequestError
from router.state.store import Clock
from router.steering.pilot import Deciding, Pilot
from router.traffic.fleet import Fleet
from router.traffic.forward import Leg, engine_body, open_leg
from router.traffic.gate import Gate
from router.traffic.record import Recorder, Visit
from router.traffic.retries import Retries
from router.traffic.sleepers import Sleepers
from router.traffic.upstream import Upstream
from router.traffic.waiting import Place

logger = logging.getLogger("alpharoute.dispatch")

RETRY_AFTER_S = "5"
UNCHANGED = Asked()


@dataclass(slots=True)
class Dispatch:
    """Finds the engine that answers; `pools` has the names of each model's pools, `retries` bounds the attempts."""

    pilot: Pilot
    fleet: Fleet
    gate: Gate
    retries: Retries
    pools: Mapping[str, frozenset[str]]
    upstream: Upstream
    recorder: Recorder
    sleepers: Sleepers
    clock_s: Clock
    draws: random.Random

    async def first_bytes(
        self, request: Request, asked: Generation, headers: dict[str, str], deadline: Deadline, visit: Visit
    ) -> Leg:
        """The leg of the first engine that answers; another one is asked only while nothing has reached the client.

        Where none is left the client gets the engine's failure, which is what really happened, and not NoEngine.
        """
        tried: list[str] = []
        failure: EngineUnreachable | None = None
        self.retries.asked()
        try:
            while True:
                try:
                    choice = visit.choice = await self._choose(request, tried, deadline, visit)
                except NoEngine:
                    raise failure or _no_engine(request, self.fleet.replicas(request.model)) from None
                last_resort = not self.fleet.endpoint(choice.replica).breaker.well
                try:
                    return await self._send(request, choice, asked, headers, deadline, visit)
                except EngineUnreachable as error:
                    tried.append(choice.replica)
                    if not (last_resort and isinstance(error, NotConnected)):
                        failure = error  # else it is still what it was known to be: no engine
                    if not self.retries.again(choice.pool, error, len(tried)):
                        raise failure or _no_engine(request, self.fleet.replicas(request.model)) from None
        finally:
            failure = None  # its traceback holds this frame, and with it the body, until the garbage is searched

    async def _choose(self, request: Request, tried: Collection[str], deadline: Deadline, visit: Visit) -> Choice:
        with visit.stage("decide"):
            deciding = self.pilot.deciding(request, visit.request_id)
            if not tried:
                self.sleepers.heed(request, deciding.knowledge)
            choice = self._decide(request, tried, deciding)
            may_enter = self.gate.open(choice.pool)
        place = None
        while not may_enter:
            place = place or self.gate.waiting.place()
            with visit.waiting("queue"):
                await self._wait(request, choice, place, deadline, deciding)
            with visit.stage("decide"):
                choice = self._decide(request, tried, deciding)
                may_enter = self.fleet.has_room(choice.pool, self.gate.concurrency)
        return choice

    async def _wait(
        self, request: Request, choice: Choice, place: Place, deadline: Deadline, deciding: Deciding
    ) -> None:
        priority = self.asked(request, deciding.knowledge).priority
        try:
            await self.gate.wait(choice.pool, request.segment, place, deadline, priority)
        except RequestError:
            self.recorder.witness.turned_away(request, choice)
            raise

    def asked(self, request: Request, knowledge: Knowledge) -> Asked:
        """What rules change of a request beside the choice of an engine."""
        document = knowledge.document
        if not document.changes_requests and not document.has_priorities:
            return UNCHANGED
        load = load_of(self.fleet.replicas(request.model)) if document.asks_load else 0.0
        return asked_of(request, document, Moment(self.clock_s(), knowledge.output_tokens(request), load))

    def _decide(self, request: Request, tried: Collection[str], deciding: Deciding) -> Choice:
        knowledge = deciding.knowledge
        replicas = self.fleet.candidates(request.model)
        if tried:
            replicas = [replace(one, state="down") if one.name in tried else one for one in replicas]
        try:
            choice = self._decided(request, replicas, knowledge)
        except NoReplica:
            raise NoEngine("") from None
        self._count_fallback(request.model, choice, replicas)
        return replace(choice, policy=deciding.version) if deciding.version else choice

    def _decided(self, request: Request, replicas: Sequence[Replica], knowledge: Knowledge) -> Choice:
        now_s, uniform = self.clock_s(), self.draws.random()
        try:
            return POLICIES[knowledge.document.policy].decide(request, replicas, knowledge, now_s, uniform)
        except NoReplica:
            raise
        except Exception:  # a fault of ours costs the decision, not the request
            self.recorder.telemetry.undecided.inc()
            logger.exception("nothing was decided for a request of task %s", request.task)
            return undecided(request, replicas, knowledge, now_s, uniform)

    async def _send(
        self,
        request: Request,
        choice: Choice,
        asked: Generation,
        headers: dict[str, str],
        deadline: Deadline,
        visit: Visit,
    ) -> Leg:
        with visit.stage("decide"):
            endpoint = self.fleet.endpoint(choice.replica)
            pool = choice.engine.pool
            task = request.task if pool.method == ENSEMBLE else None
            body = engine_body(asked, choice.k, speculative=pool.k_max > 0, task=task)
            headers[TIMEOUT] = str(deadline.left_ms(asyncio.get_running_loop().time()))
        flight = self.recorder.chosen(request, choice)
        began_s = time.perf_counter()
        try:
            leg = await open_leg(self.upstream, choice, flight, endpoint, asked.route.path, body, headers, deadline)
        except BaseException as error:
            self.recorder.broke_off(request, choice, flight, error, visit.request_id)
            raise
        self.recorder.begun(leg)
        visit.waited("connect", leg.answer.connect_s)
        visit.waited("first_byte", time.perf_counter() - began_s - leg.answer.connect_s)
        return leg

    def _count_fallback(self, model: str, choice: Choice, replicas: Collection[Replica]) -> None:
        ready = [one.pool.name for one in replicas if one.state == "ready"]
        for pool in self.pools.get(model, frozenset()).difference(ready):
            states = {one.state for one in replicas if one.pool.name == pool}
            why = "absent" if not states else states.pop() if len(states) == 1 else "down"
            self.recorder.telemetry.fallbacks.labels(pool, choice.pool, why).inc()


def _no_engine(request: Request, replicas: Collection[Replica]) -> NoEngine:
    states = ", ".join(f"{one.name} is {one.state}" for one in replicas) or "none has announced itself"
    message = f"No engine of model {request.model!r} is ready: {states}."
    return NoEngine(message, code="no_engine", headers={"retry-after": RETRY_AFTER_S})
