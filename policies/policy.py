"""The seam of deciding: a policy is anything with `decide` and `learn`; `POLICIES` has them by name."""

from collections.abc import Sequence
from typing import Protocol

from policies.adaptive import Adaptive
from policies.baselines import (
    AlwaysSpeculative,
    AlwaysVanilla,
    ArticleThreshold,
    BatchSchedule,
    EmaTiers,
    IndependentUcb,
    OneWayGate,
    Rule,
)
from policies.choice import Choice
from policies.knowledge import Knowledge
from policies.learning import Lesson
from policies.outcome import Outcome
from policies.replica import Replica
from policies.request import Request


class Policy(Protocol):
    """Decides where a request goes, and learns from how it went; holds no state (that is `Knowledge`)."""

    def decide(
        self, request: Request, replicas: Sequence[Replica], knowledge: Knowledge, now_s: float, uniform: float
    ) -> Choice:
        """The pool, replica and k for a request; `uniform` is one draw from [0, 1). NoReplica where none can serve
        it."""

    def learn(self, outcome: Outcome, knowledge: Knowledge, now_s: float) -> Lesson:
        """What an outcome teaches: deltas to absorb locally and to send to the store, events to publish."""


POLICIES: dict[str, Policy] = {
    "adaptive": Adaptive(),
    "always_vanilla": Rule(AlwaysVanilla()),
    "always_speculative": Rule(AlwaysSpeculative()),
    "article_threshold": Rule(ArticleThreshold()),
    "batch_schedule": Rule(BatchSchedule()),
    "ema_tiers": Rule(EmaTiers()),
    "one_way_gate": Rule(OneWayGate()),
    "independent_ucb": Rule(IndependentUcb()),
}
