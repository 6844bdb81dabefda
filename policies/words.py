"""The words every room shares: the request as the policy sees it, pools and replicas, and what was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from policies.quick import quick

TASKS = (
    "code_generation",
    "creative_writing",
    "summarization",
    "question_answering",
    "translation",
    "mathematics",
    "sql_generation",
    "api_call_generation",
    "legal_analysis",
    "customer_support",
)
OTHER = "other"
"""The task of a prompt that is none of `TASKS`, or that the classifier is not sure of."""

DEFAULT_SEGMENT = "default"
LONG_CONTEXT_TOKENS = 4096
"""Prompts from here on keep their own acceptance: drafters trained on short texts lose it on long ones."""

MAX_QUEUE_SHARE = 0.1

Bucket = Literal["0", "low", "high"]
Shape = Literal["plain", "long", "tools", "grammar"]
Speculation = Literal["auto", "on", "off"]
State = Literal["ready", "draining", "down", "asleep"]


def bucket_of(temperature: float) -> Bucket:
    """The temperature bucket that keeps its own acceptance: greedy, up to .7, above."""
    if temperature <= 0:
        return "0"
    return "low" if temperature <= 0.7 else "high"


@quick
@dataclass(frozen=True, slots=True)
class Request:
    """What the policy may know of a request; token counts are estimates, `affinity` names its session or prefix.

    `headers` are those that rules ask for, by their names in lower case.

    `likely` holds the tasks that it may be with their probabilities; empty where `task` is certain, or `other`.
    `measured` is False where the answer will not tell what was accepted: nothing can be learnt from it.
    """

    model: str
    task: str = OTHER
    confidence: float = 1.0
    segment: str = DEFAULT_SEGMENT
    temperature: float = 1.0
    prompt_tokens: int = 0
    max_tokens: int | None = None
    n: int = 1
    tools: bool = False
    grammar: bool = False
    speculation: Speculation = "auto"
    measured: bool = True
    affinity: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    likely: tuple[tuple[str, float], ...] = ()

    @property
    def doubted(self) -> bool:
        """True where the classifier names other tasks beside `task`."""
        return len(self.likely) > 1

    @property
    def shape(self) -> Shape:
        """The one property of the request, besides task and temperature, that keeps acceptance apart."""
        if self.grammar:
            return "grammar"
        if self.tools:
            return "tools"
        return "long" if self.prompt_tokens >= LONG_CONTEXT_TOKENS else "plain"


@dataclass(frozen=True, slots=True)
class StepTime:
    """One measured point of a replica's step time: `batch` requests, each with `k` drafts."""

    batch: int
    k: int
    step_ms: float


LOOKUP_METHODS = frozenset({"ngram", "ngram_gpu", "suffix"})


@dataclass(frozen=True, slots=True)
class Pool:
    """Replicas with the same target and drafter; `k_max` = 0 is a vanilla pool. `target` and `drafter` carry their
    revision."""

    name: str
    model: str
    target: str
    drafter: str | None = None
    method: str | None = None
    k_max: int = 0
    max_context_tokens: int | None = None

    @property
    def drafter_id(self) -> str:
        """What acceptance is kept by: the drafter, or the method where nothing is loaded (n-gram).

        An ensemble's drafts are not its drafter's alone: it has a name of its own.
        """
        if self.drafter and self.method == "ensemble":
            return f"{self.drafter}+ensemble"
        return self.drafter or self.method or "none"

    @property
    def lookup(self) -> bool:
        """True where drafts are looked up in texts: to find a match is one thing, that it lasts another."""
        return self.method in LOOKUP_METHODS or (self.method == "ensemble" and not self.drafter)


@quick
@dataclass(frozen=True, slots=True)
class Replica:
    """One engine and its load now: `mean_k` over its running requests, `max_k` the largest of them, `kv_usage` 0–1.

    `k_shares[k]` is what one more request at k would owe of the batch's drafting passes, in passes (see
    `policies.occupancy`); empty where the k of the running requests are not known.

    `own` is the share of its requests that are of the router that asks. `neighbours` counts the other engines at work
    on the hardware it shares, `neighbours_running` their requests.
    `sampled_speculation` is False where speculation corrupts sampled output: it gets k = 0 above temperature 0.
    """

    name: str
    pool: Pool
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    max_running: int = 256
    mean_k: float = 0.0
    max_k: int = 0
    k_shares: tuple[float, ...] = ()
    mean_context_tokens: float = 0.0
    state: State = "ready"
    sampled_speculation: bool = True
    probe: tuple[StepTime, ...] = ()
    own: float = 1.0
    neighbours: int = 0
    neighbours_running: int = 0


class Reason(StrEnum):
    """Why a choice was made."""

    FASTEST = "fastest"
    CHEAPEST = "cheapest"
    HELD = "held"
    ONLY = "only_option"
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
class Outcome:
    """How one request went, told to the policy when it ends.

    `drafted[i]` and `accepted[i]` are per verify step that drafted (empty: none did). `told` is False where the
    engine said nothing of its steps: then the answer's time and length count, its acceptance and step time do not.
    `mean_batch`, `mean_k` and `mean_max_k` describe the replica's batch over the request's life, this request included:
    requests, drafts per request and step, largest k. `context_tokens` is the mean context per request of that batch,
    `prefill_tokens` the prompt tokens of the requests that joined it meanwhile, `mean_neighbours` how many engines on
    the same hardware were at work (see `policies.occupancy`).
    `known` is the share of that batch that was the router's own: which k the rest had it can only suppose.
    `queue_s` is the wait for a place in the batch: what waited long says little of the batch that it ended up in.
    `finished` is False for an aborted or failed request: it is counted, its numbers are not used.
    """

    request: Request
    choice: Choice
    output_tokens: int = 0
    generation_s: float = 0.0
    ttft_s: float = 0.0
    drafted: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()
    mean_batch: float = 1.0
    mean_k: float = 0.0
    mean_max_k: float = 0.0
    context_tokens: float = 0.0
    prefill_tokens: float = 0.0
    finished: bool = True
    queue_s: float = 0.0
    known: float = 1.0
    mean_neighbours: float = 0.0
    told: bool = True

    @property
    def queued(self) -> bool:
        """True where the wait was a good part of the answer's life: averages over that life are not the batch's."""
        return self.queue_s > MAX_QUEUE_SHARE * self.generation_s

    @property
    def timed(self) -> bool:
        """True where its time is that of the batch it was in, and one that an engine can have taken."""
        return self.finished and not self.queued and 1e-6 < self.generation_s < 86_400


EventKind = Literal[
    "drift",
    "drafter_stale",
    "guard_tripped",
    "replica_slow",
    "revision_changed",
    "engine_marked",
    "engine_reload",
    "classifier_chosen",
    "policy_activated",
    "policy_rolled_back",
    "policy_refused",
    "shadow_started",
    "shadow_stopped",
    "canary_started",
    "canary_stopped",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something an operator should know; `subject` is the key, drafter, task or replica, `detail` one plain
    sentence.

    `once` names what happened: all routers that notice it name it alike, and the log takes it from the first. Empty:
    nobody else can tell of it.
    """

    kind: EventKind
    subject: str
    at_s: float
    detail: str
    once: str = ""


@quick
@dataclass(frozen=True, slots=True)
class Habit:
    """What a router remembers of one traffic class between decisions (hysteresis); never shared."""

    pool: str
    k: int
    since_s: float
    requests: int = 0
