"""Sees how each decision went: for the log, for both sides of a canary, and for what a shadow would have decided."""

import logging
from collections.abc import Sequence

from policies.choice import Choice
from policies.errors import NoReplica
from policies.explore import EXPLORED
from policies.knowledge import Knowledge
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.request import Request
from policies.steering_log import Ending, ending_of
from policies.steering_replay import MIDDLE, paired
from policies.steering_trials import ArmSums
from router.observe.telemetry import Telemetry
from router.state.store import Clock
from router.steering.decision_log import DecisionLog
from router.steering.pilot import Pilot

logger = logging.getLogger("alpharoute.steering")

SHADOWS_PER_S = 100.0
"""Decisions that a shadow makes in a second at most: a second decision costs what the first one did."""


class Witness:
    """Told when a request has its answer; nothing here is on the way to it."""

    def __init__(self, pilot: Pilot, log: DecisionLog, telemetry: Telemetry, clock_s: Clock) -> None:
        self._pilot = pilot
        self._log = log
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._room = SHADOWS_PER_S
        self._at_s = clock_s()

    def failed(self, request_id: str, request: Request, choice: Choice) -> None:
        """An engine failed the request."""
        self._erred(request, choice)
        self._log.add(request_id, request, choice, Ending("failed"))

    def turned_away(self, request: Request, choice: Choice) -> None:
        """The pool that was chosen had no room until the request's time was over."""
        self._erred(request, choice)

    def _erred(self, request: Request, choice: Choice) -> None:
        arm = self._arm(request, choice, "error")
        if arm is not None:
            arm.requests += 1
            arm.errors += 1

    def answered(self, request_id: str, request: Request, choice: Choice) -> None:
        """The request was answered, and the answer told nothing of its time."""
        arm = self._arm(request, choice, "ok")
        if arm is not None:
            arm.requests += 1
        self._log.add(request_id, request, choice, Ending("finished"))

    def learnt(self, request_id: str, outcome: Outcome, kinds: Sequence[str]) -> None:
        """The request ended, and taught what is in `outcome`; `kinds` are those of the events that it raised."""
        request, choice = outcome.request, outcome.choice
        arm = self._arm(request, choice, "ok")
        if arm is not None:
            arm.requests += 1
            arm.trips += sum(kind == "guard_tripped" for kind in kinds)
            # A client waits for a place in the batch as it waits for tokens.
            took_s = outcome.generation_s + max(0.0, outcome.queue_s)
            if outcome.finished and outcome.output_tokens > 1 and 1e-6 < took_s < 86_400:
                arm.timed(request.task, took_s / (outcome.output_tokens - 1))
        self._log.add(request_id, request, choice, ending_of(outcome))
        if self._pilot.shadow is not None and self._may_shadow():
            self._shadow(request, choice)

    def _arm(self, request: Request, choice: Choice, how: str) -> ArmSums | None:
        side = self._pilot.canary
        if side is None or not side.compares(request):
            return None
        ours = choice.policy == side.trial.version
        self._telemetry.canary_requests.labels("canary" if ours else "rest", how).inc()
        return side.sums.canary if ours else side.sums.rest

    def _may_shadow(self) -> bool:
        now_s = self._clock_s()
        self._room = min(SHADOWS_PER_S, self._room + max(0.0, now_s - self._at_s) * SHADOWS_PER_S)
        self._at_s = now_s
        if self._room < 1:
            return False
        self._room -= 1
        return True

    def _shadow(self, request: Request, choice: Choice) -> None:
        side = self._pilot.shadow
        if side is None:
            return
        if choice.reason in EXPLORED or choice.policy != self._pilot.version.id or not choice.scores:
            side.sums.skipped += 1
            return
        try:
            side.sums.add(paired(choice, decided(request, choice, side.knowledge, self._clock_s()), request.task))
        except NoReplica:
            side.sums.skipped += 1


def decided(request: Request, choice: Choice, knowledge: Knowledge, now_s: float) -> Choice:
    """What another policy makes of a request, the engines being as they were when it was decided."""
    seen = [score.engine for score in choice.scores]
    other = POLICIES[knowledge.document.policy].decide(request, seen, knowledge, now_s, MIDDLE)
    knowledge.commit(request, other)
    return other
