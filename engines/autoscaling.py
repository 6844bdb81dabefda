"""How many replicas a pool should have: what Ray Serve's autoscaler is told to ask of a pool.

In a Serve configuration: `autoscaling_config: {policy: {policy_function: "engines.autoscaling:by_load"}, …}`. Requests
reach engines without passing Serve, so its own count of them is always zero; the replicas report theirs instead.
Serve carries policies to its controller by value: this file imports nothing of the project.
"""

import math
from typing import Any, Final

REQUESTS: Final = "requests"
"""What a replica reports: requests in its engine's batch and queue."""


def replicas_for(requests: float, each: float, least: int = 0, idle: float = 0.0) -> int:
    """Replicas for so many requests at `each` a replica: none at `idle` requests and fewer, else at least `least`."""
    return 0 if requests <= idle else max(least, math.ceil(requests / each))


def by_load(context: Any) -> tuple[float, dict[str, Any]]:
    """Replicas for the pool's requests at `target_ongoing_requests` each; Serve applies its bounds and delays after.

    `context` is Ray Serve's AutoscalingContext. Before any replica has reported the number stays as it is.
    """
    return _wanted(context, 0, 0.0), {}


class ByLoadOrNone:
    """The same for a pool that may sleep: none while it is idle, at least `least` else.

    A pool without replicas stays so here: a call through its handle wakes it, which Serve sees to before it asks.
    """

    def __init__(self, least: int, idle_requests: float) -> None:
        self._least, self._idle = least, idle_requests

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """See `by_load`."""
        return _wanted(context, self._least, self._idle), {}


def _wanted(context: Any, least: int, idle: float) -> int:
    reported = (context.aggregated_metrics or {}).get(REQUESTS, {})
    if not reported:
        return int(context.target_num_replicas)
    return replicas_for(sum(reported.values()), context.config.target_ongoing_requests, least, idle)
