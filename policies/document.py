"""The policy document: what an operator decides, checked at the edge; every default of the policy lives here."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from policies.errors import DocumentError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
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


Schema = dict[str, Any]
"""A node of the JSON Schema."""


class Part(BaseModel):
    """Base of every part of the document: frozen, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(Part):
    """Latency targets of a segment; None sets no target."""

    ttft_ms: Positive | None = None
    tpot_ms: Positive | None = None


class Objective(Part):
    """What is minimised: mean time per token, target misses (goodput), or replica-seconds per token (cheapest).

    `harm` weighs the slowdown of the requests in the same batch: 1 serves the whole system, 0 only the request itself.
    """

    kind: Literal["mean_time", "goodput", "cheapest"] = "mean_time"
    harm: Annotated[float, Field(ge=0, le=4)] = 1.0
    targets: dict[str, Target] = Field(default_factory=dict)


class KRange(Part):
    """Smallest and largest k allowed in a speculative pool."""

    min: K = 1
    max: K = 32

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min!r} is above max {self.max!r}")
        return self


class TaskEntry(Part):
    """What is fixed for a task: its prior first-position acceptance, k, mode and pools (None: every pool)."""

    acceptance: Annotated[float, Field(gt=0, lt=1)] | None = None
    k: KRange = KRange()
    mode: Mode = "auto"
    pools: tuple[str, ...] | None = None


class When(Part):
    """Conditions of a rule, all of which must hold; None does not ask. Lists mean any of."""

    model: tuple[str, ...] | None = None
    task: tuple[str, ...] | None = None
    segment: tuple[str, ...] | None = None
    temperature_above: float | None = None
    temperature_at_most: float | None = None
    prompt_tokens_above: int | None = None
    max_tokens_below: int | None = None
    tools: bool | None = None
    grammar: bool | None = None
    confidence_below: float | None = None


class Then(Part):
    """What a rule does where it applies; later rules win over earlier ones."""

    mode: Mode | None = None
    k: KRange | None = None
    pools: tuple[str, ...] | None = None


class Rule(Part):
    """When … then …, with a name for explanations."""

    name: str = ""
    when: When = When()
    then: Then


class Window(Part):
    """A cap on k in some hours (local to `utc_offset_h`), from `from_hour` up to `to_hour` (past midnight where
    smaller).

    `days` are 0 = Monday … 6; None means every day. `segment` None means every segment.
    """

    from_hour: Annotated[int, Field(ge=0, le=23)]
    to_hour: Annotated[int, Field(ge=0, le=24)]
    days: tuple[Annotated[int, Field(ge=0, le=6)], ...] | None = None
    segment: str | None = None
    k_max: K
    utc_offset_h: Annotated[float, Field(ge=-12, le=14)] = 0.0


class Exploration(Part):
    """How much traffic tries what the scores do not prefer: tasks parked on vanilla at `k`, and one k deeper."""

    enabled: bool = True
    share: Share = 0.02
    share_by_root_n: Annotated[float, Field(ge=0)] = 4.0
    deeper_share: Share = 0.01
    k: Annotated[int, Field(ge=1, le=32)] = 2
    max_load: Share = 0.5
    budget: Share = 0.001


class Hysteresis(Part):
    """What it takes to change a traffic class's pool or k: a gain, and to enter speculation a bound on the speed-up.

    Small on purpose: what flaps is the estimate, and decisions stay one standard error below it already, while a
    large gain
    keeps requests from balancing between pools (3 % cost up to 4 % of the mean time at 80 % load in the simulator).
    """

    gain: Share = 0.005
    enter_bound: Positive = 0.97


class Drift(Part):
    """CUSUM on the standardised residual of each request, and what an alarm does."""

    enabled: bool = True
    slack: Annotated[float, Field(ge=0)] = 0.6
    alarm: Positive = 8.0
    keep: Positive = 20.0
    probes: Annotated[int, Field(ge=0)] = 20
    stale_tasks: Annotated[int, Field(ge=2)] = 3
    stale_within_s: Positive = 600.0


class Guard(Part):
    """The never-slower guard: a randomised hold-out on vanilla, and how long a task that fails it stays there."""

    enabled: bool = True
    hold_out: Share = 0.02
    budget: Share = 0.001
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    off_s: Positive = 600.0
    off_max_s: Positive = 7200.0


class Safeguards(Part):
    """When speculation is not tried at all; `kv_usage` and `waiting` cap k at 1."""

    short_output_tokens: Annotated[int, Field(ge=0)] = 16
    kv_usage: Share = 0.9
    kv_usage_vanilla: Share = 0.97
    tools: Mode = "auto"
    grammar: Mode = "auto"
    several_answers: Mode = "vanilla"


class Document(Part):
    """One policy: objective, tasks, rules and the settings of every mechanism.

    `kill_switch` sends everything to vanilla. `observe_only` decides and records, and serves as `always_vanilla` does.
    """

    version: Literal[1] = 1
    policy: PolicyName = "adaptive"
    kill_switch: bool = False
    observe_only: bool = False
    objective: Objective = Objective()
    tasks: dict[str, TaskEntry] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    windows: tuple[Window, ...] = ()
    safeguards: Safeguards = Safeguards()
    exploration: Exploration = Exploration()
    hysteresis: Hysteresis = Hysteresis()
    drift: Drift = Drift()
    guard: Guard = Guard()


def parse_document(data: Mapping[str, object]) -> Document:
    """Check a decoded document; DocumentError with one line per problem: path, value, what is allowed, nearest name."""
    try:
        return Document.model_validate(data)
    except ValidationError as error:
        raise DocumentError(tuple(_problem(detail) for detail in error.errors())) from None


def _problem(detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "(document)"
    if detail["type"] != "extra_forbidden":
        return f"{path}: {detail['input']!r}: {detail['msg']}"
    allowed = fields_at(detail["loc"][:-1])
    near = get_close_matches(str(detail["loc"][-1]), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{path}: unknown field{hint} (allowed: {', '.join(allowed)})"


def fields_at(path: tuple[int | str, ...]) -> tuple[str, ...]:
    """The field names the schema allows at a path of the document (list indices and dictionary keys included)."""
    schema = Document.model_json_schema()
    node: Schema = schema
    for part in path:
        node = _resolved(schema, node)
        inner = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        node = inner or node.get("additionalProperties") or {}
    return tuple(_resolved(schema, node).get("properties", {}))


def _resolved(schema: Schema, node: Schema) -> Schema:
    if "anyOf" in node:
        node = next((option for option in node["anyOf"] if option.get("type") != "null"), {})
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node
