"""Affinity: a session stays with the replica that holds its prefix, but never at any price."""

import random
from collections import Counter
from dataclasses import replace

from policies.choice import Choice
from policies.document import parse_document
from policies.knowledge import Knowledge
from policies.occupancy import k_shares
from policies.policy import POLICIES
from policies.replica import Pool, Replica, StepTime
from policies.request import Request

PROBE = tuple(
    StepTime(b, k, 8 + 0.3 * b + 0.05 * b * k + (0.2 + 0.8 * k if k else 0)) for b in (1, 4, 8) for k in (0, 1, 4)
)
SPEC = Pool("spec", "m", "t@1", "d@1", "draft_model", 4)
NOW = 1.7e9


def decide(request: Request, replicas: list[Replica], uniform: float) -> Choice:
    """One decision without trials, from priors and a probe."""
    calm = parse_document({"exploration": {"enabled": False}, "guard": {"enabled": False}})
    return POLICIES["adaptive"].decide(request, replicas, Knowledge(calm), NOW, uniform)


def cluster(*running: int) -> list[Replica]:
    """Replicas of one pool with so many running requests at k = 2."""
    return [
        Replica(f"s{i}", SPEC, n, 0, 0.0, 32, 2.0 if n else 0.0, 2 if n else 0, k_shares({2: n}, 4), probe=PROBE)
        for i, n in enumerate(running)
    ]


def asked(affinity: str | None, prompt_tokens: int = 2000) -> Request:
    """A request of a session."""
    return Request("m", "summarization", temperature=0, prompt_tokens=prompt_tokens, affinity=affinity)


def test_a_replica_that_leaves_moves_only_its_own_sessions() -> None:
    """Rendezvous hashing: the others stay."""
    sessions = [f"session {i}" for i in range(40)]
    before = {s: decide(asked(s), cluster(3, 3, 3, 3), 0.5).replica for s in sessions}
    after = {s: decide(asked(s), cluster(3, 3, 3, 3)[1:], 0.5).replica for s in sessions}
    assert all(after[s] == before[s] for s in sessions if before[s] != "s0")


def test_one_prefix_for_everybody_does_not_overload_a_replica() -> None:
    """A thousand requests with the same system prompt: the favoured replica carries more than the mean, never twice."""
    rng, counts = random.Random(1), Counter({f"s{i}": 0 for i in range(4)})
    inside: list[str] = []
    for _ in range(1000):
        loads = cluster(*(counts[f"s{i}"] for i in range(4)))
        chosen = decide(asked("shared", 20_000), loads, rng.random()).replica
        counts[chosen] += 1
        inside.append(chosen)
        if len(inside) > 40:
            counts[inside.pop(rng.randrange(len(inside)))] -= 1
        assert max(counts.values()) <= 20
    assert max(counts.values()) > 10


def test_a_full_replica_gives_its_sessions_away() -> None:
    """A queue or a batch that is much fuller outweighs any prefix, and costs stay positive."""
    home = decide(asked("a", 100_000), cluster(3, 3), 0.5)
    assert all(u > 0 for score in home.scores for u in score.u_s)
    crowded = [replace(r, running=32, waiting=8) if r.name == home.replica else r for r in cluster(3, 3)]
    assert decide(asked("a", 100_000), crowded, 0.5).replica != home.replica
