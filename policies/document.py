"""The policy document: what an operator decides, checked at the edge; every default of the policy lives here."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from policies.errors import DocumentError
from policies.mechanisms import Drift, Exploration, Guard, Hysteresis, Part, Share
from policies.problems import problems_of
from policies.rules import Aim, KRange, Ks, Mode, Objective, Rule, Window, of_kind

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


class TaskEntry(Part):
    """What is fixed for a task: its prior first-position acceptance, k, mode and pools (None: every pool)."""

    acceptance: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Prior acceptance of the first draft, before anything was seen."""
    k: Ks = KRange()
    """The k allowed, or one that is fixed."""
    mode: Mode = "auto"
    """Whether speculation is decided, off or on for the task."""
    pools: tuple[str, ...] | None = None
    """Pools allowed; unset for all."""


class Safeguards(Part):
    """When speculation is not tried at all; a full KV cache caps k."""

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


class Article(Part):
    """Thresholds of the policy `article_threshold`: by α, the accepted share of drafts, and nothing else."""

    enable: Share = 0.6
    """α above which a task speculates with `k`."""
    disable: Share = 0.5
    """α below which it does not."""
    k: Annotated[int, Field(ge=1, le=32)] = 4
    """k above `enable`."""
    measure_k: Annotated[int, Field(ge=1, le=32)] = 2
    """k in between."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.disable > self.enable:
            raise ValueError(f"disable {self.disable!r} is above enable {self.enable!r}")
        return self


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
    objectives: dict[str, Aim] = Field(default_factory=dict)
    """The same by segment, in place of `objective`."""
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
    article: Article = Article()
    """Thresholds of the policy `article_threshold`."""

    @field_validator("objectives", mode="before")
    @classmethod
    def _whole(cls, given: object, info: ValidationInfo) -> object:
        base = info.data.get("objective", Objective())
        return {name: of_kind(one, base) for name, one in given.items()} if isinstance(given, Mapping) else given

    @field_validator("rules", mode="before")
    @classmethod
    def _whole_in_rules(cls, given: object, info: ValidationInfo) -> object:
        base = info.data.get("objective", Objective())
        return [_with_objective(one, base) for one in given] if isinstance(given, list | tuple) else given

    @cached_property
    def asks_load(self) -> bool:
        """Whether a rule depends on the load."""
        return any(rule.when.load_above is not None or rule.when.load_at_most is not None for rule in self.rules)

    @cached_property
    def changes_requests(self) -> bool:
        """Whether a rule caps temperature or top_p."""
        return any(rule.then.caps for rule in self.rules)

    @cached_property
    def has_aims(self) -> bool:
        """Whether some requests have another objective than `objective`."""
        return bool(self.objectives) or any(rule.then.objective is not None for rule in self.rules)

    @cached_property
    def has_priorities(self) -> bool:
        """Whether a rule sets a priority."""
        return any(rule.then.priority is not None for rule in self.rules)

    @cached_property
    def header_names(self) -> frozenset[str]:
        """Request headers that rules ask for, in lower case."""
        return frozenset(name.lower() for rule in self.rules for name in rule.when.headers or {})


def _with_objective(rule: object, base: Objective) -> object:
    """A rule as it was written, but for a kind of objective alone."""
    then = rule.get("then") if isinstance(rule, Mapping) else None
    if not isinstance(rule, Mapping) or not isinstance(then, Mapping) or "objective" not in then:
        return rule
    return {**rule, "then": {**then, "objective": of_kind(then["objective"], base)}}


def parse_document(data: Mapping[str, object]) -> Document:
    """Check a decoded document; DocumentError with one line per problem: path, value, what is allowed, nearest name."""
    try:
        return Document.model_validate(data)
    except ValidationError as error:
        raise DocumentError(problems_of(Document, error.errors())) from None


def json_schema() -> dict[str, object]:
    """The JSON Schema of the document, for editors that complete and check as one types."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}
