"""Rules that others publish or ship, as policies to compare with and to choose: none of them weighs task, load and
cost together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from policies import cost
from policies.adaptive import serving
from policies.cells import demand, drafts_of, score_of
from policies.choice import Choice, Reason
from policies.knowledge import Knowledge, traffic_class
from policies.learning import Lesson, joined, learn_basics
from policies.outcome import Outcome
from policies.records import Delta
from policies.replica import Replica
from policies.request import Request
from policies.scoring import curve_of
from policies.terms import Terms, k_range, terms

FIXED_K = 4
TIERS = (1, 3, 7)
TIER_EDGES = (1.5, 3.0)
EMA_HALF_LIFE_REQUESTS = 10.0
GATE_LENGTH, GATE_REQUESTS = 1.6, 20.0
UCB_KS = (1, 2, 4, 6, 8)
UCB_HALF_LIFE_REQUESTS = 200.0
UCB_WIDTH = 0.5


def load(replica: Replica) -> float:
    """Share of a replica's places that are taken or asked for."""
    return (replica.running + replica.waiting) / replica.max_running


def least_loaded(replicas: Sequence[Replica], uniform: float) -> Replica:
    """The emptiest replica; `uniform` breaks ties."""
    start = int(uniform * len(replicas))
    return min((*replicas[start:], *replicas[:start]), key=load)


def vanilla_of(replicas: Sequence[Replica]) -> Sequence[Replica]:
    """The vanilla replicas, or all where there is none."""
    return [r for r in replicas if r.pool.k_max == 0] or replicas


def undecided(
    request: Request, replicas: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
) -> Choice:
    """Where a policy failed: the emptiest ready replica of the pools that the terms name, vanilla if one is.

    No drafts, no prediction. NoReplica where none can serve the request.
    """
    ready = serving(request, replicas)
    allowed = terms(request, knowledge.document, knowledge.output_tokens(request), now_s, ready)
    return Choice(least_loaded(vanilla_of(_within(allowed, ready)), uniform), 0, Reason.UNDECIDED)


def _within(allowed: Terms, ready: Sequence[Replica]) -> Sequence[Replica]:
    """The replicas of the pools that the terms name, or all where none of these is ready."""
    return [r for r in ready if allowed.pools is None or r.pool.name in allowed.pools] or ready


def speculative_of(replicas: Sequence[Replica], request: Request) -> Sequence[Replica]:
    """The replicas that may speculate for this request."""
    return [r for r in replicas if r.pool.k_max > 0 and (request.temperature <= 0 or r.sampled_speculation)]


def placed(
    request: Request, replica: Replica, k: int, knowledge: Knowledge, now_s: float, reason: Reason = Reason.BASELINE
) -> Choice:
    """A choice without scores of the alternatives; k is cut to what the operator's terms and the replica allow."""
    length = knowledge.output_tokens(request)
    allowed = terms(request, knowledge.document, length, now_s, [replica])
    limits = k_range(allowed, request, replica, knowledge.document)
    k = min(max(k, limits.low), limits.high) if k and limits.low <= limits.high else 0
    asked, curve = demand(request, length, 1.0), curve_of(request, replica.pool, knowledge, now_s)
    load = knowledge.load(replica, asked.harm, now_s)
    own = score_of(asked, replica, load, drafts_of(curve, asked), limits)
    key = knowledge.acceptance_key(request, replica.pool, now_s) if k else None
    return Choice(replica, k, reason, key, own.u_s[k], own.tpot_s(k), expected_output_tokens=length)


class Chooser(Protocol):
    """The part of a rule that is its own."""

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """One of the ready replicas and a k."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as a policy: what the operator or a safeguard sends to vanilla goes there before the rule is asked."""

    rule: Chooser

    def decide(
        self, request: Request, replicas: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The rule's choice among the ready replicas. NoReplica where none can serve the request."""
        ready = serving(request, replicas)
        allowed = terms(request, knowledge.document, knowledge.output_tokens(request), now_s, ready)
        if allowed.k_max == 0 or knowledge.document.observe_only:
            reason = allowed.reason if allowed.k_max == 0 else Reason.OBSERVE
            replica = least_loaded(vanilla_of(ready), uniform)
            return placed(request, replica, 0, knowledge, now_s, reason or Reason.BASELINE)
        return self.rule.choose(request, _within(allowed, ready), knowledge, now_s, uniform)

    def learn(self, outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
        """What every policy learns, so that any can take over with warm records, and what the rule itself needs."""
        basics = learn_basics(outcome, knowledge, now_s)
        if not isinstance(self.rule, Remembering):
            return basics
        return joined(basics, Lesson(self.rule.remember(outcome, knowledge)))


@runtime_checkable
class Remembering(Protocol):
    """A rule that keeps records of its own."""

    def remember(self, outcome: Outcome, knowledge: Knowledge) -> tuple[Delta, ...]:
        """The changes of its records."""


@dataclass(frozen=True, slots=True)
class AlwaysVanilla:
    """Never speculates."""

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The emptiest vanilla replica."""
        replica = least_loaded(vanilla_of(ready), uniform)
        return placed(request, replica, 0, knowledge, now_s)


@dataclass(frozen=True, slots=True)
class AlwaysSpeculative:
    """The same k for everything."""

    k: int = FIXED_K

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The emptiest speculative replica."""
        replica = least_loaded(speculative_of(ready, request) or ready, uniform)
        return placed(request, replica, self.k, knowledge, now_s)


@dataclass(frozen=True, slots=True)
class ArticleThreshold:
    """Speculate on tasks with α above a threshold, not below another, and in between keep measuring with a small k."""

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The emptiest replica of the side that the task's per-token acceptance asks for."""
        able = speculative_of(ready, request)
        if not able:
            return placed(request, least_loaded(vanilla_of(ready), uniform), 0, knowledge, now_s)
        replica = least_loaded(able, uniform)
        alpha = self._alpha(request, replica, knowledge, now_s)
        rules = knowledge.document.article
        if alpha < rules.disable:
            return placed(request, least_loaded(vanilla_of(ready), uniform), 0, knowledge, now_s)
        k = rules.k if alpha > rules.enable else rules.measure_k
        return placed(request, replica, k, knowledge, now_s)

    @staticmethod
    def _alpha(request: Request, replica: Replica, knowledge: Knowledge, now_s: float) -> float:
        """Accepted / (accepted + rejected steps) of the task, the prior's first position without evidence."""
        curve = knowledge.curve(request, replica.pool, now_s)
        tried = sum(curve.e)
        return sum(h * e for h, e in zip(curve.h, curve.e, strict=True)) / tried if tried > 1 else curve.h[0]


@dataclass(frozen=True, slots=True)
class BatchSchedule:
    """k by the replica's batch as a request arrives, for as long as it runs; learnt from the mix's own acceptance.

    vLLM's dynamic schedule sets k for the whole batch anew at each step, which only an engine can do: its batch never
    drafts on at the largest k of an emptier time.
    """

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The emptiest replica of any pool, at the k that serves its whole batch best on average."""
        replica = least_loaded(ready, uniform)
        return placed(request, replica, self._k(request, replica, knowledge, now_s), knowledge, now_s)

    @staticmethod
    def _k(request: Request, replica: Replica, knowledge: Knowledge, now_s: float) -> int:
        """argmin over k of T(B, every request at k) / E(k) with the mix's mean E."""
        if replica.pool.k_max == 0:
            return 0
        expected = knowledge.mix_tokens(replica.pool, now_s)
        model = knowledge.step_model(replica, now_s)
        batch = replica.running + 1.0
        times = [
            model.step_s(cost.row(batch, k, k, replica.mean_context_tokens)) / tokens
            for k, tokens in enumerate(expected)
        ]
        return times.index(min(times))


@dataclass(frozen=True, slots=True)
class EmaTiers:
    """k from {1, 3, 7} by a moving average of accepted drafts per step over all traffic of a drafter."""

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The emptiest speculative replica at the drafter's tier."""
        replica = least_loaded(speculative_of(ready, request) or ready, uniform)
        fields = knowledge.record(f"ema:{replica.pool.drafter_id}").fields
        accepted = fields["accepted"] / fields["n"] if fields.get("n") else TIER_EDGES[0]
        k = TIERS[sum(accepted > edge for edge in TIER_EDGES)]
        return placed(request, replica, k, knowledge, now_s)

    def remember(self, outcome: Outcome, knowledge: Knowledge) -> tuple[Delta, ...]:
        """The moving average of its drafter."""
        return moving_average(outcome)


def moving_average(outcome: Outcome) -> tuple[Delta, ...]:
    """Accepted drafts per step of one request, into its drafter's decayed mean."""
    if not outcome.drafted or not outcome.finished:
        return ()
    accepted = sum(outcome.accepted) / len(outcome.accepted)
    add = {"n": 1.0, "accepted": accepted}
    return (Delta(f"ema:{outcome.choice.engine.pool.drafter_id}", add, 1.0, EMA_HALF_LIFE_REQUESTS),)


@dataclass(frozen=True, slots=True)
class OneWayGate:
    """k = 4 until the mean acceptance length of a drafter falls below a threshold; then never again."""

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """A speculative replica while the gate is open, a vanilla one (or k = 0) afterwards."""
        able = speculative_of(ready, request)
        open_ = [r for r in able if not knowledge.record(f"gate:{r.pool.drafter_id}").fields.get("^closed")]
        if open_:
            return placed(request, least_loaded(open_, uniform), FIXED_K, knowledge, now_s)
        return placed(request, least_loaded(vanilla_of(ready), uniform), 0, knowledge, now_s)

    def remember(self, outcome: Outcome, knowledge: Knowledge) -> tuple[Delta, ...]:
        """The moving average, and the gate that it closes."""
        deltas = moving_average(outcome)
        if deltas:
            drafter = outcome.choice.engine.pool.drafter_id
            fields = knowledge.record(f"ema:{drafter}").fields
            seen = fields.get("n", 0.0)
            if seen > GATE_REQUESTS / 2 and 1 + fields["accepted"] / seen < GATE_LENGTH:
                deltas = (*deltas, Delta(f"gate:{drafter}", {"^closed": 1.0}))
        return deltas


@dataclass(frozen=True, slots=True)
class IndependentUcb:
    """A discounted UCB bandit per traffic class whose arms are (pool, k), blind to what one k says of another."""

    def choose(
        self, request: Request, ready: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The arm with the largest optimistic reward (minus log time per token), on its emptiest replica."""
        pools = {r.pool.name: r.pool for r in ready}
        arms = [
            (name, k)
            for name, pool in pools.items()
            for k in ((0,) if pool.k_max == 0 else [k for k in UCB_KS if k <= pool.k_max])
        ]
        fields = [knowledge.record(_arm(request, pool, k)).fields for pool, k in arms]
        total = sum(f.get("n", 0.0) for f in fields) + 1
        values = [_optimistic(f, total) for f in fields]
        pool, k = arms[values.index(max(values))]
        replica = least_loaded([r for r in ready if r.pool.name == pool], uniform)
        return placed(request, replica, k, knowledge, now_s)

    def remember(self, outcome: Outcome, knowledge: Knowledge) -> tuple[Delta, ...]:
        """The arm's mean time per token."""
        if not outcome.finished or outcome.output_tokens < 2 or outcome.generation_s <= 0:
            return ()
        key = _arm(outcome.request, outcome.choice.pool, outcome.choice.k)
        add = {"n": 1.0, "tpot": outcome.generation_s / (outcome.output_tokens - 1)}
        return (Delta(key, add, 1.0, UCB_HALF_LIFE_REQUESTS),)


def _arm(request: Request, pool: str, k: int) -> str:
    return "ucb:" + "|".join((*traffic_class(request), pool, str(k)))


def _optimistic(fields: Mapping[str, float], total: float) -> float:
    n = fields.get("n", 0.0)
    if n < 0.5:
        return math.inf
    return UCB_WIDTH * math.sqrt(math.log(total) / n) - math.log(fields["tpot"] / n)
