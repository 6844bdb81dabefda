"""How many replicas each pool of a model should have, from the time its requests took."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEAST_SECONDS = 60.0
"""Generation time observed below which there is no advice."""


@dataclass(frozen=True, slots=True)
class PoolTraffic:
    """What a pool did: `busy_s` is the time its requests spent generating, summed over requests; `waited_s` the time
    requests waited because it was full."""

    pool: str
    requests: float
    busy_s: float
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolMix:
    """Advice for one pool: its share of the work, the replicas it has and those it should have."""

    pool: str
    share: float
    replicas: int
    advised: int


def advised_mix(traffic: Sequence[PoolTraffic], replicas: Mapping[str, int]) -> tuple[PoolMix, ...]:
    """The same number of replicas, shared out by work (largest remainders), at least one each; empty for want of
    traffic.

    Work is generation time and waits: the router's own choices, load included, made where there was a choice. It
    follows the present mix too, so that large moves take several rounds: apply, observe, ask again.
    """
    seen = {one.pool: one.busy_s + one.waited_s for one in traffic}
    work = {pool: seen.get(pool, 0.0) for pool in replicas}
    total, places = sum(work.values()), sum(replicas.values())
    if total < LEAST_SECONDS or places < len(replicas):
        return ()
    free = places - len(replicas)
    exact = {pool: max(0.0, places * amount / total - 1) for pool, amount in work.items()}
    scale = free / sum(exact.values()) if sum(exact.values()) else 0.0
    whole = {pool: int(amount * scale) for pool, amount in exact.items()}
    by_rest = sorted(exact, key=lambda pool: (whole[pool] - exact[pool] * scale, pool))
    extra = set(by_rest[: free - sum(whole.values())])
    return tuple(
        PoolMix(pool, work[pool] / total, replicas[pool], 1 + whole[pool] + (pool in extra)) for pool in replicas
    )


_SAMPLE = re.compile(r"^(alpharoute_\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def traffic_of_metrics(page: str) -> tuple[PoolTraffic, ...]:
    """What a router's /metrics page tells of each pool since the routers started.

    Generation time is tokens times the mean time per token, by task and pool.
    """
    sums: dict[str, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
    for line in page.splitlines():
        if found := _SAMPLE.match(line):
            labels = dict(_LABEL.findall(found[2]))
            if "pool" in labels:
                sums[found[1]][labels.get("task", ""), labels["pool"]] += float(found[3])
    per_token = "alpharoute_time_per_output_token_seconds"
    counts, seconds = sums[f"{per_token}_count"], sums[f"{per_token}_sum"]
    busy: dict[str, float] = defaultdict(float)
    for (task, pool), tokens in sums["alpharoute_output_tokens_total"].items():
        if answers := counts.get((task, pool)):
            busy[pool] += tokens * seconds[task, pool] / answers
    requests: dict[str, float] = defaultdict(float)
    for (_, pool), decisions in sums["alpharoute_decisions_total"].items():
        requests[pool] += decisions
    waits = sums["alpharoute_queue_seconds_sum"]
    return tuple(PoolTraffic(pool, requests[pool], busy[pool], waits.get(("", pool), 0.0)) for pool in sorted(requests))
