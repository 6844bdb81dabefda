"""How many replicas a pool should have: what Ray Serve's autoscaler is told to ask of a pool.

In a Serve configuration: `autoscaling_config: {policy: {policy_function: "engines.autoscaling:by_load"}, …}`. Requests
reach engines without passing Serve, so its own count of them is always zero; the replicas report theirs instead.
"""

import math
from typing import Any, Final

REQUESTS: Final = "requests"
"""What a replica reports: requests in its engine's batch and queue."""


def by_load(context: Any) -> tuple[float, dict[str, Any]]:
    """Replicas for the pool's requests at `target_ongoing_requests` each; Serve applies its bounds and delays after.

    `context` is Ray Serve's AutoscalingContext. Before any replica has reported the number stays as it is.
    """
    reported = (context.aggregated_metrics or {}).get(REQUESTS, {})
    if not reported:
        return context.target_num_replicas, {}
    return math.ceil(sum(reported.values()) / context.config.target_ongoing_requests), {}
