"""What was chosen for a request, out of which scores, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.quick import quick
from policies.replica import Replica


class Reason(StrEnum):
    """Why a choice was made."""

    FASTEST = "fastest"
    CHEAPEST = "cheapest"
    HELD = "held"
    RULE = "rule"
    REQUESTED = "requested"
    KILL_SWITCH = "kill_switch"
    OBSERVE = "observe_only"
    SHORT_OUTPUT = "short_output"
    KV_PRESSURE = "kv_pressure"
    LONG_CONTEXT = "long_context"
    SEVERAL_ANSWERS = "several_answers"
    UNMEASURED = "unmeasured"
    TOOLS = "tools"
    GRAMMAR = "grammar"
    SAMPLING_UNSAFE = "sampling_unsafe"
    GUARD = "guard"
    EXPLORE = "explore"
    PROBE = "drift_probe"
    HOLD_OUT = "hold_out"
    WINDOW = "window"
    BASELINE = "baseline"
    UNDECIDED = "undecided"


@quick
@dataclass(frozen=True, slots=True)
class Load:
    """What a replica's batch makes of one more request with k = 0, 1, … drafts, but for the request's own KV tokens.

    `steps_s[k]` is a step with it, `added_s[k]` what it adds to one (all of it where nothing else runs), `cost_s[k]`
    what both cost: the request, with its wait, and everyone. `weight` is what that makes of any second more per step,
    `alone` says that nobody else is there, `queued` is the waiting per place.
    `per_kv_s` and `per_prefill_s` are the step time of a thousand tokens of context, and of prefill; a
    second of delay costs those who are there, and whoever comes meanwhile, `others` seconds.
    """

    steps_s: Sequence[float]
    added_s: Sequence[float]
    cost_s: Sequence[float]
    weight: float
    alone: bool
    queued: float
    per_kv_s: float = 0.0
    per_prefill_s: float = 0.0
    others: float = 0.0


@dataclass(slots=True)  # not frozen: a decision makes one per replica, and freezing would triple what that costs
class Score:
    """One replica's cost of serving a request with k = 0, 1, … drafts, and which of these k are allowed (low … high).

    `u_s[k]` is seconds per token with the harm to others and the wait, `load` the replica as the request finds it,
    `context_s` what the request's own KV tokens add to a step, `per_token[k]` steps per token of the request, `wait_s`
    the wait for a place, `noise[k]` the relative standard error of the tokens expected per step.
    """

    engine: Replica
    u_s: Sequence[float]
    load: Load
    per_token: Sequence[float]
    noise: Sequence[float]
    context_s: float = 0.0
    wait_s: float = 0.0
    low: int = 0
    high: int = 0
    blocked: Reason | None = None

    def tpot_s(self, k: int) -> float:
        """The request's own time per token at k."""
        return (self.load.steps_s[k] + self.context_s) * self.per_token[k]

    def engine_s(self, k: int) -> float:
        """The replica's time per token that it takes at k."""
        return (self.load.added_s[k] + self.context_s) * self.per_token[k]

    @property
    def pool(self) -> str:
        """Name of the pool."""
        return self.engine.pool.name

    @property
    def replica(self) -> str:
        """Name of the replica."""
        return self.engine.name


@quick
@dataclass(frozen=True, slots=True)
class Choice:
    """Where a request goes and with which k.

    `engine` is the replica as it was seen when deciding. `key` is the acceptance record the answer will teach (None
    at k = 0).
    `u_s` is the predicted seconds per token with the harm to others and the wait, `tpot_s` this request's own; the
    `vanilla_…` pair is the same for the best k = 0 (None without one). `best_pool` and `best_k` are what the scores
    alone
    preferred: they differ from the choice where it was held, ruled, explored or held out. `policy` is the version of
    the policy that decided (0: the file's).
    """

    engine: Replica
    k: int
    reason: Reason
    key: str | None = None
    u_s: float = 0.0
    tpot_s: float = 0.0
    vanilla_u_s: float | None = None
    vanilla_tpot_s: float | None = None
    expected_output_tokens: float = 0.0
    best_pool: str = ""
    best_k: int = 0
    scores: tuple[Score, ...] = ()
    policy: int = 0

    @property
    def pool(self) -> str:
        """Name of the chosen pool."""
        return self.engine.pool.name

    @property
    def replica(self) -> str:
        """Name of the chosen replica."""
        return self.engine.name


@quick
@dataclass(frozen=True, slots=True)
class Habit:
    """What a router remembers of one traffic class between decisions (hysteresis); never shared."""

    pool: str
    k: int
