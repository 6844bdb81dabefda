"""Pages about the service itself: health, readiness, models, metrics."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from router.fleet import Fleet
from router.http import JSON
from router.sharing import Sharing
from router.store import Clock
from router.telemetry import CONTENT_TYPE, Telemetry


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON


class Status:
    """Answers GET; `pages` has each page by its path."""

    def __init__(
        self, models: frozenset[str], fleet: Fleet, sharing: Sharing, telemetry: Telemetry, clock_s: Clock
    ) -> None:
        self._models = models
        self._fleet = fleet
        self._sharing = sharing
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._began_s = int(clock_s())
        self.pages: Mapping[str, Callable[[], Page]] = {
            "/health": self.health,
            "/ready": self.ready,
            "/v1/models": self.models,
            "/metrics": self.metrics,
        }

    def health(self) -> Page:
        """The process answers; nothing else is asked."""
        return Page(b'{"status":"ok"}')

    def ready(self) -> Page:
        """200 when every model has an engine that can take a request; Redis being away does not change that."""
        states: dict[str, Counter[str]] = {model: Counter() for model in sorted(self._models)}
        for model in states:
            states[model].update(replica.state for replica in self._fleet.replicas(model))
        ready = all(counts["ready"] for counts in states.values())
        synced_s = self._sharing.synced_s
        body = {
            "status": "ready" if ready else "not ready",
            "engines": states,
            "replicas": [
                {"name": beat.replica, "pool": beat.pool, "state": beat.state, "phase": beat.phase}
                for beat in self._fleet.heartbeats()
            ],
            "redis": {"seconds_since_exchange": None if synced_s is None else round(self._clock_s() - synced_s, 3)},
        }
        return Page(orjson.dumps(body), 200 if ready else 503)

    def models(self) -> Page:
        """OpenAI's list of models: what the pools serve, whether an engine is up or not."""
        data = [
            {"id": name, "object": "model", "created": self._began_s, "owned_by": "alpharoute"}
            for name in sorted(self._models)
        ]
        return Page(orjson.dumps({"object": "list", "data": data}))

    def metrics(self) -> Page:
        """Prometheus' text format."""
        return Page(self._telemetry.exposition(), content_type=CONTENT_TYPE)
