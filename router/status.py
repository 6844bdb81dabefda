"""Pages about the service itself: health, readiness, models, metrics."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import orjson

from engines.registry import TRYING_AGAIN
from router.api.http import JSON
from router.observe.pages import Pages
from router.observe.telemetry import CONTENT_TYPE
from router.openapi import openapi_document
from router.state.store import Clock
from router.steering.pilot import Pilot
from router.traffic.catalogue import Catalogue
from router.traffic.fleet import Fleet
from router.traffic.sharing import Sharing

MODEL_PREFIX = "/v1/models/"


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON


Show = Callable[[], Awaitable[Page]]
"""Draws a page."""


class Status:
    """Answers GET; `pages` has each page by its path."""

    def __init__(
        self,
        router: str,
        catalogue: Catalogue,
        pilot: Pilot,
        fleet: Fleet,
        sharing: Sharing,
        metrics: Pages,
        clock_s: Clock,
    ) -> None:
        self._router = router
        self._catalogue = catalogue
        self._pilot = pilot
        self._fleet = fleet
        self._sharing = sharing
        self._metrics = metrics
        self._clock_s = clock_s
        self.draining = False
        self.pages: Mapping[str, Show] = {
            "/health": self.health,
            "/ready": self.ready,
            "/v1/models": self.models,
            "/openapi.json": self.openapi,
            "/metrics": self.metrics,
        }

    async def health(self) -> Page:
        """The process answers; nothing else is asked."""
        return Page(b'{"status":"ok"}')

    async def ready(self) -> Page:
        """200 when every model has an engine that can take a request, and this router does not drain.

        Redis being away does not change that.
        """
        states: dict[str, Counter[str]] = {model: Counter() for model in sorted(self._catalogue.models)}
        for model in states:
            states[model].update(replica.state for replica in self._fleet.replicas(model))
        ready = not self.draining and all(counts["ready"] for counts in states.values())
        ago_s = self._synced_ago_s()
        body = {
            "status": "draining" if self.draining else "ready" if ready else "not ready",
            "router": self._router,
            "engines": states,
            "replicas": [
                {"name": beat.replica, "pool": beat.pool, "state": beat.state, "phase": _open(beat.phase)}
                for beat in self._fleet.heartbeats()
            ],
            "policy": self._policy(),
            "redis": {"seconds_since_exchange": None if ago_s is None else round(ago_s, 3)},
        }
        return Page(orjson.dumps(body), 200 if ready else 503)

    def _policy(self) -> dict[str, object]:
        now = self._pilot.status()
        return {"version": now.active, "source": now.source, "revision": now.revision, "problem": now.problem}

    async def models(self) -> Page:
        """OpenAI's list of models: what the pools serve, whether an engine is up or not."""
        return Page(orjson.dumps({"object": "list", "data": self._catalogue.cards()}))

    async def model(self, name: str) -> Page:
        """One model."""
        return Page(orjson.dumps(self._catalogue.card(name)))

    def page(self, path: str) -> Show | None:
        """The page at a path: a fixed one, or one model's; None where there is none."""
        if path.startswith(MODEL_PREFIX):
            return partial(self.model, path.removeprefix(MODEL_PREFIX))
        return self.pages.get(path)

    async def openapi(self) -> Page:
        """The OpenAPI document."""
        summaries = {path: show.__doc__ or "" for path, show in self.pages.items()}
        summaries[f"{MODEL_PREFIX}{{model}}"] = self.model.__doc__ or ""
        return Page(openapi_document(summaries))

    def _synced_ago_s(self) -> float | None:
        synced_s = self._sharing.synced_s
        return None if synced_s is None else self._clock_s() - synced_s

    async def metrics(self) -> Page:
        """Every router's metrics in Prometheus' text format."""
        return Page(await self._metrics.page(), content_type=CONTENT_TYPE)


def _open(phase: str) -> str:
    """A phase as everybody may read it: words of a server that failed are for operators."""
    return TRYING_AGAIN if phase.startswith(TRYING_AGAIN) else phase
