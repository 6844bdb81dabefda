"""What one router and one Redis pay for a cluster of a given size: decisions, exchanges, memory."""

import gc
import statistics
import time
import tracemalloc
from dataclasses import dataclass

from redis.asyncio import Redis

from bench.policy.decisions import POOLS, time_decisions
from engines.registry import Heartbeat
from policies.keys import Key
from policies.knowledge import Knowledge
from policies.records import Delta
from router.config.settings import RouterSettings
from router.observe.telemetry import Telemetry
from router.state.redis_registry import RedisRegistry
from router.state.redis_store import Keys, RedisStore
from router.state.store import Cursor
from router.traffic.breaker import Tolerance
from router.traffic.fleet import Fleet
from router.traffic.sharing import Sharing

EXCHANGES = 40
DECISIONS = 300
CHANGED = 20
"""Records that change between two exchanges: what a router with 100 answers a second over 20 keys brings."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one exchange of one router: CPU milliseconds here and in Redis, kilobytes sent by Redis.

    `decision_us` is CPU per decision, `kib_per_replica` and `kib_per_record` memory of the router's copies.
    """

    replicas: int
    records: int
    decision_us: float
    decision_p99_us: float
    exchange_ms: float
    redis_ms: float
    redis_kib: float
    kib_per_replica: float
    kib_per_record: float


async def measure(redis: Redis, replicas: int, records: int, exchanges: int = EXCHANGES) -> Cost:
    """Fill a prefix of its own with engines and records, exchange, and take the medians."""
    keys = Keys(f"scale-{replicas}-{records}")
    store, registry = RedisStore(redis, keys), RedisRegistry(redis, keys)
    for at in range(replicas):
        await registry.announce(_heartbeat(at), 600)
    generation = (await store.changes(Cursor())).cursor.generation
    for start in range(0, records, 500):
        await store.merge(_deltas(start, min(500, records - start)), f"fill-{start}", generation)
    knowledge, fleet = Knowledge(), Fleet(time.monotonic, 60.0, Tolerance())
    sharing = Sharing(store, registry, knowledge, fleet, Telemetry(), time.time)
    tracemalloc.start()
    fleet.update(await registry.replicas())
    fleet_kib = _held_kib()
    await sharing.exchange()  # everything for once
    knowledge_kib = _held_kib() - fleet_kib
    tracemalloc.stop()
    if len(knowledge.records) < records or len(fleet.heartbeats()) < replicas:
        raise RuntimeError("the router did not read all that Redis holds: nothing measured here would be true")
    costs = [await _exchange(redis, store, registry, sharing, generation, replicas, turn) for turn in range(exchanges)]
    timed = time_decisions(DECISIONS, per_pool=max(1, replicas // len(POOLS)))
    here, there, kib = (statistics.median(column) for column in zip(*costs, strict=True))
    return Cost(
        replicas,
        records,
        timed.mean_us,
        timed.p99_us,
        here,
        there,
        kib,
        fleet_kib / replicas,
        knowledge_kib / max(1, records),
    )


async def _exchange(
    redis: Redis,
    store: RedisStore,
    registry: RedisRegistry,
    sharing: Sharing,
    generation: str,
    replicas: int,
    turn: int,
) -> tuple[float, float, float]:
    """One exchange after what happens between two: some records changed and a share of the engines announced."""
    await store.merge(_deltas(turn * CHANGED % 500, CHANGED), f"turn-{turn}", generation)
    every = RouterSettings().heartbeat_s / RouterSettings().sync_s
    for at in range(turn % 3, replicas, max(1, round(every))):
        await registry.announce(_heartbeat(at), 600)
    before, began = await _spent(redis), time.process_time()
    await sharing.exchange()
    here = time.process_time() - began
    after = await _spent(redis)
    # The two questions to Redis cost it something too: the same as they do between two that follow one another.
    nothing = await _spent(redis)
    used, sent = (2 * b - a - c for a, b, c in zip(before, after, nothing, strict=True))
    return here * 1e3, max(0.0, used) * 1e3, sent / 1024


async def _spent(redis: Redis) -> tuple[float, float]:
    """Seconds of CPU and bytes sent by the server since it began."""
    cpu, net = await redis.info("cpu"), await redis.info("stats")
    return cpu["used_cpu_sys"] + cpu["used_cpu_user"], net["total_net_output_bytes"]


def _heartbeat(at: int) -> Heartbeat:
    pool = POOLS[at % len(POOLS)]
    return Heartbeat(
        replica=f"{pool.name}-{at:05}",
        pool=pool.name,
        model="m",
        target="target@1",
        drafter=pool.drafter,
        method=pool.method,
        k_max=pool.k_max,
        url=f"http://10.0.{at // 250}.{at % 250}:8000",
        api_key="0" * 32,
        running=at % 17,
        clock_s=time.time(),
    )


def _deltas(start: int, count: int) -> list[Delta]:
    """Changes of acceptance records as an answer at k = 4 makes them."""
    fields = {f"{letter}{i}": 10.0 for letter in "se" for i in range(1, 5)} | {"n": 1.0}
    keys = (Key("m@1", "drafter@1", f"task-{at}", "default", "0").encode() for at in range(start, start + count))
    return [Delta(key, fields, 10.0, 600.0, 21600.0) for key in keys]


def _held_kib() -> float:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 1024
