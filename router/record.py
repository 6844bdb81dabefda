"""What becomes of a request once it is answered: metrics, and what the policy learns from it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engines.contract import EngineMetrics
from policies.knowledge import Knowledge
from policies.occupancy import Batch
from policies.policy import POLICIES
from policies.words import Choice, Outcome, Request
from router.errors import EngineUnreachable
from router.fleet import Fleet, Flight
from router.forward import Leg
from router.head import decided
from router.http import RawHeaders
from router.overview import Decisions
from router.sharing import Sharing
from router.store import Clock
from router.telemetry import Telemetry

logger = logging.getLogger("alpharoute.record")

CLIENT_GONE = 499
"""The status under which requests are counted whose client left before the answer was complete (as nginx does)."""


@dataclass(slots=True)
class Visit:
    """One request on its way: what was asked, what was decided, how long the router's own stages took.

    `answering` turns True when the head of an answer goes out: from there on no other answer can be given.
    """

    route: str
    telemetry: Telemetry
    status: int = 500
    answering: bool = False
    request: Request | None = None
    choice: Choice | None = None
    overhead_s: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the router's own work."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - began_s
            self.overhead_s += took_s
            self.telemetry.stage.labels(name).observe(took_s)

    def answers(self, status: int) -> None:
        """The head of an answer goes out."""
        self.status = status
        self.answering = True

    def headers(self) -> RawHeaders:
        """A fresh list of the decision headers; empty before there is a decision."""
        if self.request is None or self.choice is None:
            return []
        return decided(self.request.task, self.choice, self.overhead_s)

    def close(self) -> None:
        """Count the request."""
        model, task = (self.request.model, self.request.task) if self.request else ("", "")
        self.telemetry.requests.labels(self.route, model, task, str(self.status)).inc()


@dataclass(slots=True)
class Recorder:
    """Turns what happened into metrics and lessons."""

    telemetry: Telemetry
    sharing: Sharing
    knowledge: Knowledge
    fleet: Fleet
    decisions: Decisions
    clock_s: Clock

    def chosen(self, request: Request, choice: Choice) -> Flight:
        """A choice is acted on."""
        now_s = self.clock_s()
        self.knowledge.commit(request, choice, now_s)
        self.decisions.add(request, choice, now_s)
        self.telemetry.decisions.labels(request.task, choice.pool, str(choice.k), str(choice.reason)).inc()
        self.telemetry.in_flight.labels(choice.pool).inc()
        return self.fleet.begin(choice, request)

    def broke_off(self, choice: Choice, flight: Flight, error: EngineUnreachable | None) -> None:
        """Nothing came of the choice: the engine broke off before its first byte, or (None) the client left."""
        self._landed(choice, flight)
        if error is not None:
            self._failed(choice, flight, error)
        else:
            self.telemetry.aborted.labels(choice.pool).inc()

    def answered(self, request: Request, leg: Leg) -> None:
        """The answer is out, whole or cut off. What cannot be learnt from it never costs the client its answer."""
        batch = self._landed(leg.choice, leg.flight)
        if leg.failure is not None:
            self._failed(leg.choice, leg.flight, leg.failure)
        elif leg.answer.status == 200:
            try:
                self._learn(request, leg, batch)
            except Exception:
                self.telemetry.unmeasured.labels("error").inc()
                logger.exception("nothing was learnt from an answer of replica %s", leg.choice.replica)

    def _landed(self, choice: Choice, flight: Flight) -> Batch:
        self.telemetry.in_flight.labels(choice.pool).dec()
        return self.fleet.end(flight)

    def _failed(self, choice: Choice, flight: Flight, error: EngineUnreachable) -> None:
        self.fleet.suspect(flight)
        self.telemetry.engine_failures.labels(choice.pool, error.code or "unknown").inc()

    def _learn(self, request: Request, leg: Leg, batch: Batch) -> None:
        choice, metrics = leg.choice, leg.metrics
        if not leg.finished:
            self.telemetry.aborted.labels(choice.pool).inc()
            outcome = Outcome(request, choice, finished=False)
        elif metrics is None or (choice.k > 0 and metrics.steps is None):
            self.telemetry.unmeasured.labels("no_metrics" if metrics is None else "no_steps").inc()
            return
        else:
            self._measure(request, choice, metrics)
            outcome = measured(request, choice, metrics, batch)
        policy = POLICIES[self.knowledge.document.policy]
        self.sharing.learn(policy.learn(outcome, self.knowledge, self.clock_s()))

    def _measure(self, request: Request, choice: Choice, metrics: EngineMetrics) -> None:
        telemetry, task, pool = self.telemetry, request.task, choice.pool
        telemetry.output_tokens.labels(task, pool).inc(metrics.output_tokens)
        telemetry.time_to_first_token.labels(pool).observe(metrics.time_to_first_token_ms / 1000)
        if metrics.output_tokens > 1:
            per_token_s = metrics.generation_ms / 1000 / (metrics.output_tokens - 1)
            telemetry.time_per_output_token.labels(task, pool).observe(per_token_s)
        if metrics.steps is not None:
            drafter = choice.engine.pool.drafter_id
            telemetry.proposed.labels(drafter, task).inc(sum(metrics.steps.drafted))
            telemetry.accepted.labels(drafter, task).inc(sum(metrics.steps.accepted))


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
    )
