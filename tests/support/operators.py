"""One router's part in steering without a router around it: the operator's side over the stores that routers share."""

import time
from collections.abc import Mapping

from policies.deployment import Deployment
from policies.document import Document, parse_document
from policies.event import Event
from policies.knowledge import Knowledge
from router.config.traffic import DecisionSettings
from router.observe.telemetry import Telemetry
from router.steering.running import Helm, SteeringStores, helm
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet

NOWHERE = Deployment((), {}, (), ())


def router_over(
    stores: SteeringStores, events: list[Event] | None = None, policy: Mapping[str, object] | None = None
) -> Helm:
    """What one router has of steering; `events` collects what it tells operators, `policy` is that of its settings."""
    fleet = Fleet(time.time, 5.0, Tolerance(3, 1.0, 60.0))
    told = events if events is not None else []
    knowledge = Knowledge(parse_document(policy) if policy else Document())
    return helm(
        stores, DecisionSettings(), None, knowledge, Telemetry(), fleet, told.append, time.time, "r", lambda: NOWHERE
    )
