"""The policy document: what an operator decides, checked at the edge; every default of the policy lives here."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from policies.errors import DocumentError
from policies.mechanisms import Drift, Exploration, Guard, Hysteresis, Part, Positive, Share
from policies.problems import problems_of

K = Annotated[int, Field(ge=0, le=32)]
Mode = Literal["auto", "vanilla", "speculative"]
PolicyName = Literal[
    "adaptive",
    "always_vanilla",
    "always_speculative",
    "article_threshold",
    "batch_schedule",
    "ema_tiers",
    "one_way_gate",
    "independent_ucb",
]


class Target(Part):
    """Latency targets of a segment; None sets no target."""

    ttft_ms: Positive | None = None
    """Longest time to first token."""
    tpot_ms: Positive | None = None
    """Longest time per output token."""


class Objective(Part):
    """What is minimised: mean time per token, target misses (goodput), or replica-seconds per token (cheapest).

    `harm` weighs the slowdown of the requests in the same batch: 1 serves the whole system, 0 only the request itself.
    """

    kind: Literal["mean_time", "goodput", "cheapest"] = "mean_time"
    """Mean time per token, fewest target misses, or fewest replica-seconds per token."""
    harm: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Weight of the slowdown of the requests in the same batch."""
    targets: dict[str, Target] = Field(default_factory=dict)
    """Latency targets by segment."""


class KRange(Part):
    """Smallest and largest k allowed in a speculative pool."""

    min: K = 1
    """Smallest k."""
    max: K = 32
    """Largest k."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min!r} is above max {self.max!r}")
        return self


class TaskEntry(Part):
    """What is fixed for a task: its prior first-position acceptance, k, mode and pools (None: every pool)."""

    acceptance: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Prior acceptance of the first draft, before anything was seen."""
    k: KRange = KRange()
    """The k allowed."""
    mode: Mode = "auto"
    """Whether speculation is decided, off or on for the task."""
    pools: tuple[str, ...] | None = None
    """Pools allowed; unset for all."""


class When(Part):
    """Conditions of a rule, all of which must hold; None does not ask. Lists mean any of."""

    model: tuple[str, ...] | None = None
    """Served models."""
    task: tuple[str, ...] | None = None
    """Tasks."""
    segment: tuple[str, ...] | None = None
    """Segments."""
    temperature_above: float | None = None
    """Temperature greater than this."""
    temperature_at_most: float | None = None
    """Temperature up to this."""
    prompt_tokens_above: int | None = None
    """Prompts longer than this."""
    max_tokens_below: int | None = None
    """Answers limited to fewer tokens."""
    tools: bool | None = None
    """Whether tools are offered."""
    grammar: bool | None = None
    """Whether the output is constrained."""
    confidence_below: float | None = None
    """The classifier less sure than this."""


class Then(Part):
    """What a rule does where it applies; later rules win over earlier ones."""

    mode: Mode | None = None
    """Whether speculation is decided, off or on."""
    k: KRange | None = None
    """The k allowed."""
    pools: tuple[str, ...] | None = None
    """Pools allowed."""


class Rule(Part):
    """When … then …, with a name for explanations."""

    name: str = ""
    """Shown in explanations."""
    when: When = When()
    """Where it applies."""
    then: Then
    """What it does."""


class Window(Part):
    """A cap on k in some hours (local to `utc_offset_h`), from `from_hour` up to `to_hour` (past midnight where
    smaller).

    `days` are 0 = Monday … 6; None means every day. `segment` None means every segment.
    """

    from_hour: Annotated[int, Field(ge=0, le=23)]
    """First hour."""
    to_hour: Annotated[int, Field(ge=0, le=24)]
    """Hour at which it ends."""
    days: tuple[Annotated[int, Field(ge=0, le=6)], ...] | None = None
    """0 = Monday … 6; unset for every day."""
    segment: str | None = None
    """Segment; unset for all."""
    k_max: K
    """Largest k meanwhile."""
    utc_offset_h: Annotated[float, Field(ge=-12, le=14)] = 0.0
    """Local time less UTC, in hours."""


class Safeguards(Part):
    """When speculation is not tried at all; `kv_usage` and `waiting` cap k at 1."""

    short_output_tokens: Annotated[int, Field(ge=0)] = 16
    """Answers expected shorter than this go to vanilla."""
    kv_usage: Share = 0.9
    """KV cache use above which k is at most 1."""
    kv_usage_vanilla: Share = 0.97
    """KV cache use above which k is 0."""
    tools: Mode = "auto"
    """Requests that offer tools."""
    grammar: Mode = "auto"
    """Requests with constrained output."""
    several_answers: Mode = "vanilla"
    """Requests for several answers, which carry no metrics."""


class Document(Part):
    """One policy: objective, tasks, rules and the settings of every mechanism.

    `kill_switch` sends everything to vanilla. `observe_only` decides and records, and serves as `always_vanilla` does.
    """

    version: Literal[1] = 1
    """Version of this schema."""
    policy: PolicyName = "adaptive"
    """The rule that decides; the others are there to compare with."""
    kill_switch: bool = False
    """Send everything to vanilla."""
    observe_only: bool = False
    """Decide and record, but serve as always_vanilla does."""
    objective: Objective = Objective()
    """What is minimised."""
    tasks: dict[str, TaskEntry] = Field(default_factory=dict)
    """What is fixed by task."""
    rules: tuple[Rule, ...] = ()
    """Rules in order; later ones win."""
    windows: tuple[Window, ...] = ()
    """Caps on k by hour."""
    safeguards: Safeguards = Safeguards()
    """When speculation is not tried."""
    exploration: Exploration = Exploration()
    """Trying what is not preferred."""
    hysteresis: Hysteresis = Hysteresis()
    """What it takes to change."""
    drift: Drift = Drift()
    """Alarms on acceptance."""
    guard: Guard = Guard()
    """The never-slower guard."""


def parse_document(data: Mapping[str, object]) -> Document:
    """Check a decoded document; DocumentError with one line per problem: path, value, what is allowed, nearest name."""
    try:
        return Document.model_validate(data)
    except ValidationError as error:
        raise DocumentError(problems_of(Document, error.errors())) from None


def json_schema() -> dict[str, object]:
    """The JSON Schema of the document, for editors that complete and check as one types."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}
