"""Asking replicas that are left out whether they are back, and those that may hang whether they do: a request of the
router's own, for one token."""

import asyncio
import logging
from dataclasses import dataclass, field

import orjson

from router.api.deadline import Deadline
from router.errors import NotConnected, RequestError
from router.observe.telemetry import Telemetry
from router.traffic.breaker import Circuit
from router.traffic.fleet import Fleet, Suspect
from router.traffic.forward import ask_whole
from router.traffic.upstream import Upstream

logger = logging.getLogger("alpharoute.probes")

LIMIT_S = 30.0
"""Longest wait for the one token: an engine that is back has nothing else to do, and one that is only busy sends first
bytes to others meanwhile."""

ROUTE = "/v1/completions"


@dataclass(slots=True)
class Probes:
    """Tries each replica when its back-off is over, or when it may hang; an answer closes its breaker, anything else
    opens it, for longer each time.

    An engine can hang and still answer its health page, so it has to generate. What refuses to (a pooling model, a
    wrong name) is an engine that answers.
    """

    fleet: Fleet
    upstream: Upstream
    telemetry: Telemetry
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def watch(self, every_s: float) -> None:
        """Probe until cancelled."""
        try:
            while True:
                for suspect in self.fleet.suspects():
                    if suspect.name not in self.running:
                        self.running[suspect.name] = asyncio.create_task(self._probe(suspect))
                await asyncio.sleep(every_s)
        finally:
            for task in self.running.values():
                task.cancel()

    async def _probe(self, suspect: Suspect) -> None:
        try:
            good, connected = False, True
            try:
                good = await self._answers(suspect)
            except NotConnected:
                connected = False
            self._judge(suspect, good=good, connected=connected)
        finally:
            del self.running[suspect.name]

    def _judge(self, suspect: Suspect, *, good: bool, connected: bool) -> None:
        breaker = suspect.endpoint.breaker
        was_well = breaker.well
        breaker.probed(self.fleet.clock_s(), good=good, connected=connected)
        if was_well and breaker.well:
            return  # a suspicion that came to nothing
        turned = Circuit.CLOSED if breaker.well else Circuit.OPEN
        self.telemetry.breaker_turns.labels(suspect.pool, str(turned)).inc()
        if breaker.well:
            logger.info("replica %s is back", suspect.name)
        elif was_well:
            logger.warning(
                "replica %s is left out for a while: it kept requests waiting, and a probe too", suspect.name
            )

    async def _answers(self, suspect: Suspect) -> bool:
        body = orjson.dumps({"model": suspect.model, "prompt": "1, 2, 3", "max_tokens": 1, "temperature": 0})
        limit = Deadline(asyncio.get_running_loop().time() + LIMIT_S, int(LIMIT_S * 1000))
        try:
            answer = await ask_whole(self.upstream, suspect.endpoint, ROUTE, body, {}, limit)
        except NotConnected:
            raise
        except RequestError:
            return False
        return answer.status < 500
