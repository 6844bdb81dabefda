"""How long one decision takes in the largest cluster that the targets name: four pools of four replicas, eight k."""

import random
import time
from collections import Counter
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from policies.choice import Choice
from policies.knowledge import Knowledge
from policies.occupancy import k_shares
from policies.outcome import Outcome
from policies.policy import POLICIES
from policies.replica import Pool, Replica, StepTime
from policies.request import Request
from policies.task import TASKS

POOLS = (
    Pool("vanilla", "m", "target@1"),
    Pool("general", "m", "target@1", "general@1", "eagle", 8),
    Pool("code", "m", "target@1", "code@1", "draft_model", 8),
    Pool("lookup", "m", "target@1", None, "ngram", 8),
)
PER_POOL, BEAT = 4, 25
WARM = 400
START_S, GAP_S = 1.7e9, 0.02


@dataclass(frozen=True, slots=True)
class Timed:
    """CPU microseconds of a decision."""

    mean_us: float
    median_us: float
    p99_us: float

    def line(self) -> str:
        """For people."""
        return f"one decision: mean {self.mean_us:.0f} µs, median {self.median_us:.0f} µs, p99 {self.p99_us:.0f} µs"


def _probe() -> tuple[StepTime, ...]:
    return tuple(
        StepTime(b, k, 8 + 0.03 * b + 0.02 * b * k + (0.2 + 0.8 * k if k else 0)) for b in (1, 4, 8) for k in (0, 1, 4)
    )


def loaded(at: int, rng: random.Random, probe: tuple[StepTime, ...]) -> Replica:
    """The replica of this index with some load."""
    pool = POOLS[at % len(POOLS)]
    name = f"{pool.name}-{at // len(POOLS)}"
    ks = Counter({k: rng.randint(0, 3) for k in range(pool.k_max + 1)})
    running, drafts = ks.total(), sum(k * count for k, count in ks.items())
    largest = max((k for k, count in ks.items() if count), default=0)
    mean_k = drafts / running if running else 0.0
    shares = k_shares(ks, pool.k_max)
    return Replica(name, pool, running, 0, 0.1, 256, mean_k, largest, shares, 200.0, probe=probe)


def outcome(request: Request, choice: Choice, rng: random.Random) -> Outcome:
    """An answer of twenty verify steps."""
    drafted = (choice.k,) * 20
    accepted = tuple(min(choice.k, rng.randint(0, 4)) for _ in drafted)
    return Outcome(request, choice, 21 + sum(accepted), 0.5, 0.05, drafted, accepted, 8.0, 2.0, 4.0, 300.0, 100.0)


def time_decisions(decisions: int, seed: int = 1, per_pool: int = PER_POOL) -> Timed:
    """Decide, and learn from every other decision, at 50 requests per second over ten tasks; only deciding is timed.

    As in a router, the replicas that somebody joined or left since the last decision are seen afresh (one of each),
    and all of them with every heartbeat, twice a second.
    """
    rng, knowledge, policy, probe = random.Random(seed), Knowledge(), POLICIES["adaptive"], _probe()
    seen = [loaded(at, rng, probe) for at in range(per_pool * len(POOLS))]
    spent: list[int] = []
    for i in range(WARM + decisions):
        now_s = START_S + GAP_S * i
        for at in rng.sample(range(len(seen)), 2) if i % BEAT else range(len(seen)):
            seen[at] = loaded(at, rng, probe)
        request, uniform = Request("m", TASKS[i % len(TASKS)], temperature=0.0, prompt_tokens=200), rng.random()
        started = time.thread_time_ns()
        choice = policy.decide(request, seen, knowledge, now_s, uniform)
        spent.append(time.thread_time_ns() - started)
        knowledge.commit(request, choice)
        if choice.k and i % 2:
            knowledge.absorb(policy.learn(outcome(request, choice, rng), knowledge, now_s).deltas, now_s)
    kept = spent[WARM:]
    return Timed(fmean(kept) / 1e3, float(np.median(kept)) / 1e3, float(np.percentile(kept, 99)) / 1e3)
