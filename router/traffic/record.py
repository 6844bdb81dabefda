"""What becomes of a request once it is answered: metrics, and what the policy learns from it."""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from engines.contract import EngineMetrics, VerifySteps
from policies.choice import Choice
from policies.occupancy import Batch
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.request import Request
from router.api.head import CAPPED, REQUEST_ID, decided
from router.api.http import RawHeaders
from router.errors import (
    ClientDeadlineExceeded,
    DeadlineExceeded,
    EngineTimeout,
    EngineUnreachable,
    NotConnected,
    RequestError,
)
from router.observe.logs import FIELDS
from router.observe.telemetry import Telemetry
from router.observe.tracing import Span
from router.state.store import Clock
from router.steering.pilot import Pilot
from router.steering.witness import Witness
from router.traffic.breaker import Breaker, Circuit
from router.traffic.fleet import Fleet, Flight
from router.traffic.forward import Leg
from router.traffic.gate import Gate
from router.traffic.sharing import Sharing

logger = logging.getLogger("alpharoute.record")
access_log = logging.getLogger("alpharoute.access")

CLIENT_GONE = 499
"""The status under which requests are counted whose client left before the answer was complete (as nginx does)."""

_GIVEN_UP = (EngineTimeout, DeadlineExceeded, asyncio.CancelledError)
"""How a wait for an engine's first byte ends that somebody gave up: the router, the deadline, the client."""


@dataclass(slots=True)
class Visit:
    """One request on its way: what was asked, what was decided, how long the router's own stages took.

    `capped` is what the policy changed of it, `key` the id of the client's key where one is needed.

    `answering` turns True when the head of an answer goes out: from there on no other answer can be given.
    """

    route: str
    telemetry: Telemetry
    request_id: str
    span: Span | None = None
    logged: bool = False
    key: str | None = None
    status: int = 500
    answering: bool = False
    request: Request | None = None
    choice: Choice | None = None
    capped: str = ""
    overhead_s: float = 0.0
    began_s: float = field(default_factory=time.perf_counter)

    def stage(self, name: str) -> "Stage":
        """Time a stage of the router's own work: it counts as overhead."""
        return Stage(self, name, own=True)

    def waiting(self, name: str) -> "Stage":
        """Time a stage that waits for somebody else."""
        return Stage(self, name, own=False)

    def waited(self, name: str, took_s: float) -> None:
        """A stage that waited for somebody else took so long."""
        self.telemetry.stages[name].observe(took_s)

    def answers(self, status: int) -> None:
        """The head of an answer goes out."""
        self.status = status
        self.answering = True

    def refused(self, error: RequestError) -> None:
        """The router answers with an error of its own, or with what an engine failed by."""
        self.telemetry.refused.labels(error.code or "unknown").inc()
        self.answers(error.status)
        self._count_deadline(error)

    def broke_off(self, error: RequestError) -> None:
        """The answer that had begun broke off: that is its status, whatever its head said."""
        self.status = error.status
        self._count_deadline(error)

    def _count_deadline(self, error: RequestError) -> None:
        if isinstance(error, ClientDeadlineExceeded):
            self.telemetry.client_deadlines.inc()

    def headers(self) -> RawHeaders:
        """A fresh list of the request's id and, once there is a decision, its headers."""
        named = (REQUEST_ID.encode(), self.request_id.encode())
        if self.request is None or self.choice is None:
            return [named]
        said = [named, *decided(self.request.task, self.choice, self.overhead_s)]
        return [*said, (CAPPED.encode(), self.capped.encode())] if self.capped else said

    def close(self) -> None:
        """Count the request, and tell of it where that is wanted."""
        model, task = (self.request.model, self.request.task) if self.request else ("", "")
        took_s = time.perf_counter() - self.began_s
        self.telemetry.requests.labels(self.route, model, task, str(self.status)).inc()
        self.telemetry.request_time.labels(self.route).observe(took_s)
        if self.span is not None:
            self.span.end(self.request, self.choice, self.status)
        if self.logged:
            access_log.info("request", extra={FIELDS: self._told(model, task, took_s)})

    def _told(self, model: str, task: str, took_s: float) -> dict[str, object]:
        choice = self.choice
        chosen: dict[str, object] = {}
        if choice is not None:
            chosen = {"pool": choice.pool, "replica": choice.replica, "k": choice.k, "decision": str(choice.reason)}
        return {
            "request_id": self.request_id,
            **({} if self.key is None else {"key": self.key}),
            "route": self.route,
            "status": self.status,
            "model": model,
            "task": task,
            **chosen,
            "duration_ms": round(took_s * 1000, 1),
            "overhead_ms": round(self.overhead_s * 1000, 3),
        }


class Stage:
    """A stage of a visit as a context manager; a class, for a generator costs three times as much."""

    __slots__ = ("_began_s", "_name", "_own", "_visit")

    def __init__(self, visit: Visit, name: str, *, own: bool) -> None:
        self._visit, self._name, self._own = visit, name, own

    def __enter__(self) -> None:
        self._began_s = time.perf_counter()

    def __exit__(self, *failure: object) -> None:
        took_s = time.perf_counter() - self._began_s
        self._visit.waited(self._name, took_s)
        if self._own:
            self._visit.overhead_s += took_s


@dataclass(slots=True)
class Recorder:
    """Turns what happened into metrics and lessons."""

    telemetry: Telemetry
    sharing: Sharing
    pilot: Pilot
    witness: Witness
    fleet: Fleet
    gate: Gate
    clock_s: Clock

    def chosen(self, request: Request, choice: Choice) -> Flight:
        """A choice is acted on."""
        self.pilot.knowledge_of(choice).commit(request, choice)
        self.telemetry.decisions.labels(request.task, choice.pool, str(choice.k), str(choice.reason)).inc()
        self.telemetry.in_flight.labels(choice.pool).inc()
        if choice.vanilla_tpot_s and choice.tpot_s > 0:
            self.telemetry.speedup.labels(request.task).observe(choice.vanilla_tpot_s / choice.tpot_s)
        return self.fleet.begin(choice, request)

    def broke_off(
        self, request: Request, choice: Choice, flight: Flight, error: BaseException, request_id: str
    ) -> None:
        """Nothing came of the choice: the engine broke off before its first byte, the time was over, or
        (CancelledError) the client left."""
        self._landed(choice, flight)
        if isinstance(error, EngineUnreachable):
            self.failed(choice.pool, choice.replica, flight.breaker, error)
            self.witness.failed(request_id, request, choice)
        elif isinstance(error, asyncio.CancelledError):
            self.telemetry.aborted.labels(choice.pool).inc()
        if isinstance(error, _GIVEN_UP):
            flight.breaker.unheard(self.fleet.clock_s() - flight.ticket.entered_s)

    def begun(self, leg: Leg) -> None:
        """The first bytes of an answer came."""
        if leg.answer.status < 400:  # vLLM refuses requests before they reach the part of it that may hang
            leg.flight.breaker.heard()

    def answered(self, request: Request, leg: Leg, request_id: str) -> None:
        """The answer is out, whole or cut off. What cannot be learnt from it never costs the client its answer."""
        batch = self._landed(leg.choice, leg.flight)
        self._judge(leg)
        if leg.failure is not None or leg.answer.status >= 500:
            self.witness.failed(request_id, request, leg.choice)
        elif leg.answer.status == 200:
            try:
                self._learn(request, leg, batch, request_id)
            except Exception:
                self.telemetry.unmeasured.labels("error").inc()
                logger.exception("nothing was learnt from an answer of replica %s", leg.choice.replica)

    def _judge(self, leg: Leg) -> None:
        """What the answer says of the engine's health: a client's error is an answer, an engine's own is not."""
        choice, breaker = leg.choice, leg.flight.breaker
        if leg.failure is not None:
            self.failed(choice.pool, choice.replica, breaker, leg.failure)
        elif leg.finished:
            self.came_to_its_end(choice.pool, choice.replica, breaker, leg.answer.status)

    def _landed(self, choice: Choice, flight: Flight) -> Batch:
        self.telemetry.in_flight.labels(choice.pool).dec()
        batch = self.fleet.end(flight)
        self.gate.left(choice.pool)
        return batch

    def came_to_its_end(self, pool: str, replica: str, breaker: Breaker, status: int) -> None:
        """A replica sent a whole answer; one of 5xx is a failure of its own."""
        if status >= 500:
            error = EngineUnreachable(f"The engine answered {status}.", code=f"engine_{status}")
            self.failed(pool, replica, breaker, error)
        else:
            breaker.succeeded()

    def failed(self, pool: str, replica: str, breaker: Breaker, error: EngineUnreachable) -> None:
        """A replica failed a request."""
        self.telemetry.engine_failures.labels(pool, error.code or "unknown").inc()
        if breaker.failed(self.fleet.clock_s(), at_once=isinstance(error, NotConnected)):
            self.telemetry.breaker_turns.labels(pool, str(Circuit.OPEN)).inc()
            logger.warning("replica %s is left out for a while: %s", replica, error)

    def _learn(self, request: Request, leg: Leg, batch: Batch, request_id: str) -> None:
        choice, metrics = leg.choice, leg.metrics
        if not leg.finished:
            if leg.broke is None:  # else the deadline cut it off
                self.telemetry.aborted.labels(choice.pool).inc()
            outcome = Outcome(request, choice, finished=False)
        elif metrics is None:
            self.telemetry.unmeasured.labels("no_metrics").inc()
            self.witness.answered(request_id, request, choice)
            return
        else:
            self._measure(request, choice, metrics)
            outcome = measured(request, choice, metrics, batch)
            if not outcome.told:
                self.telemetry.unmeasured.labels("no_steps").inc()
        knowledge = self.pilot.knowledge_of(choice)
        lesson = POLICIES[knowledge.document.policy].learn(outcome, knowledge, self.clock_s())
        self.sharing.learn(lesson)
        self.witness.learnt(request_id, outcome, [event.kind for event in lesson.events])

    def _measure(self, request: Request, choice: Choice, metrics: EngineMetrics) -> None:
        telemetry, task, pool = self.telemetry, request.task, choice.pool
        telemetry.prompt_tokens.labels(task, pool).inc(metrics.prompt_tokens)
        telemetry.output_tokens.labels(task, pool).inc(metrics.output_tokens)
        telemetry.time_to_first_token.labels(pool).observe(metrics.time_to_first_token_ms / 1000)
        if metrics.output_tokens > 1:
            per_token_s = metrics.generation_ms / 1000 / (metrics.output_tokens - 1)
            telemetry.time_per_output_token.labels(task, pool).observe(per_token_s)
            if choice.vanilla_tpot_s and choice.tpot_s > 0:
                took_s = metrics.generation_ms / 1000
                telemetry.compared_tokens.labels(task).inc(metrics.output_tokens)
                telemetry.compared_s.labels(task).inc(took_s)
                telemetry.vanilla_s.labels(task).inc(took_s * choice.vanilla_tpot_s / choice.tpot_s)
        if metrics.steps is not None:
            drafter = choice.engine.pool.drafter_id
            telemetry.proposed.labels(drafter, task).inc(sum(metrics.steps.drafted))
            telemetry.accepted.labels(drafter, task).inc(sum(metrics.steps.accepted))
            self._count_positions(drafter, task, metrics.steps)

    def _count_positions(self, drafter: str, task: str, steps: VerifySteps) -> None:
        for outcome, lengths in (("proposed", steps.drafted), ("accepted", steps.accepted)):
            reached = Counter(lengths)
            count = 0
            for position in range(max(reached, default=0), 0, -1):
                count += reached[position]
                self.telemetry.positions.labels(drafter, task, str(position), outcome).inc(count)


def measured(request: Request, choice: Choice, metrics: EngineMetrics, batch: Batch) -> Outcome:
    """What the engine and this router saw of one finished request, in the policy's words."""
    return Outcome(
        request=request,
        choice=choice,
        output_tokens=metrics.output_tokens,
        generation_s=metrics.generation_ms / 1000,
        ttft_s=metrics.time_to_first_token_ms / 1000,
        queue_s=metrics.queue_ms / 1000,
        drafted=metrics.steps.drafted if metrics.steps else (),
        accepted=metrics.steps.accepted if metrics.steps else (),
        mean_batch=batch.mean_batch,
        mean_k=batch.mean_k,
        mean_max_k=batch.mean_max_k,
        context_tokens=batch.context_tokens,
        prefill_tokens=batch.prefill_tokens,
        known=batch.known,
        told=choice.k == 0 or metrics.steps is not None,
        mean_neighbours=batch.mean_neighbours,
    )
