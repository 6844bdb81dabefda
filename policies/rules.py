"""What an operator writes about requests: objectives, ranges of k, hours, and rules `when … then …`."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Literal, Self, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from policies.mechanisms import Part, Positive, Share

K = Annotated[int, Field(ge=0, le=32)]
Tokens = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0, le=2)]
ObjectiveKind = Literal["mean_time", "goodput", "cheapest"]

# YAML reads a bare `on` or `off` as a truth value.
_SPELLINGS: Mapping[object, str] = {"on": "speculative", "off": "vanilla", True: "speculative", False: "vanilla"}


def _mode(given: object) -> object:
    return _SPELLINGS.get(given, given) if isinstance(given, str | bool) else given


Mode = Annotated[
    Literal["auto", "vanilla", "speculative"],
    BeforeValidator(_mode),
    WithJsonSchema({"enum": ["auto", "on", "off", "speculative", "vanilla"], "type": "string"}),
]
"""Whether speculation is decided (auto), on or off; `speculative` and `vanilla` say the same as `on` and `off`."""


class Target(Part):
    """Latency targets of a segment; None sets no target."""

    ttft_ms: Positive | None = None
    """Longest time to first token."""
    tpot_ms: Positive | None = None
    """Longest time per output token."""


class Objective(Part):
    """What is minimised: mean time per token, target misses (goodput), or replica-seconds per token (cheapest).

    `goodput` takes the least mean time; where that has to queue and would miss a target, what meets it at once.
    `cheapest` fills as few replicas as it can, without a queue, up to twice the fastest time per token, within
    its targets if there are any: idle replicas may then sleep or be scaled down. Where no replica is free or fast
    enough, both take the least mean time.

    `harm` weighs the slowdown of the requests in the same batch: 1 serves the whole system, 0 only the request itself.
    """

    kind: ObjectiveKind = "mean_time"
    """Mean time per token, fewest target misses (goodput), or fewest replica-seconds per token (cheapest)."""
    harm: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Weight of the slowdown of the requests in the same batch."""
    targets: dict[str, Target] = Field(default_factory=dict)
    """Latency targets by segment."""

    def target(self, segment: str) -> Target:
        """The targets of a segment: its own, else those of `default`, else none."""
        return self.targets.get(segment) or self.targets.get("default") or NONE


NONE = Target()


def of_kind(given: object, base: Objective) -> object:
    """A kind alone as `base` with that kind; anything else as it is."""
    return base.model_copy(update={"kind": given}) if given in KINDS else given


KINDS: tuple[object, ...] = get_args(ObjectiveKind)


def _objective(given: object) -> object:
    return {"kind": given} if isinstance(given, str) else given


Aim = Annotated[Objective, BeforeValidator(_objective, json_schema_input_type=ObjectiveKind | Objective)]
"""An objective, or its kind alone: the document's `objective` with another kind."""


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


def _k_range(given: object) -> object:
    whole = isinstance(given, int) and not isinstance(given, bool)
    return {"min": given, "max": given} if whole else given


Ks = Annotated[KRange, BeforeValidator(_k_range, json_schema_input_type=K | KRange)]
"""A range of k, or one k that is fixed."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        near = get_close_matches(name, _zones(), n=1)
        raise PydanticCustomError(
            "time_zone",
            "no time zone of the IANA database, such as Europe/Berlin",
            {"nearest": near[0] if near else None},
        ) from None
    return name


@cache
def _zones() -> list[str]:
    """Every name there is; looking for them reads the disk for a tenth of a second."""
    return sorted(available_timezones())


Zone = Annotated[str, AfterValidator(_zone)]


class Hours(Part):
    """Hours of the day, from `from_hour` up to `to_hour` (past midnight where that is smaller), where the clocks show
    the time of `zone`, or of `utc_offset_h`."""

    from_hour: Annotated[int, Field(ge=0, le=23)]
    """First hour."""
    to_hour: Annotated[int, Field(ge=0, le=24)]
    """Hour at which it ends."""
    days: tuple[Annotated[int, Field(ge=0, le=6)], ...] | None = None
    """0 = Monday … 6, the day on which it begins; unset for every day."""
    zone: Zone | None = None
    """Time zone by its IANA name; summer time is minded."""
    utc_offset_h: Annotated[float, Field(ge=-12, le=14)] = 0.0
    """Local time less UTC, in hours, where no zone is named."""

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        if self.zone is not None and self.utc_offset_h:
            raise ValueError(f"zone {self.zone!r} and utc_offset_h {self.utc_offset_h!r} exclude each other")
        return self


class Window(Hours):
    """A cap on k in some hours. `segment` None means every segment."""

    segment: str | None = None
    """Segment; unset for all."""
    k_max: K
    """Largest k meanwhile."""


SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key"})

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]


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
    prompt_tokens_at_most: int | None = None
    """Prompts up to this length."""
    output_tokens_above: Tokens | None = None
    """Answers expected to be longer than this, by the task's past ones and the request's limit."""
    output_tokens_at_most: Tokens | None = None
    """Answers expected to be up to this long."""
    max_tokens_below: int | None = None
    """Answers limited to fewer tokens."""
    tools: bool | None = None
    """Whether tools are offered."""
    grammar: bool | None = None
    """Whether the output is constrained."""
    confidence_below: float | None = None
    """The classifier less sure than this."""
    headers: dict[HeaderName, tuple[str, ...]] | None = None
    """Request headers by name, with the values that match; an empty list matches any value."""
    hours: Hours | None = None
    """Hours of the day."""
    load_above: Share | None = None
    """More than this share of the places in the engines' batches taken."""
    load_at_most: Share | None = None
    """Up to this share taken."""

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        for name in self.headers or {}:
            if name.lower() in SECRET_HEADERS:
                raise ValueError(f"the header {name!r} may hold a secret and is not read")
        return self


class Then(Part):
    """What a rule does where it applies; later rules win over earlier ones."""

    mode: Mode | None = None
    """Whether speculation is decided, off or on."""
    speculation: Mode | None = None
    """The same as `mode`."""
    k: Ks | None = None
    """The k allowed, or one that is fixed."""
    pools: tuple[str, ...] | None = None
    """Pools allowed."""
    objective: Aim | None = None
    """What is minimised."""
    priority: int | None = None
    """Place in the queue before a full pool, in place of the segment's; higher goes first."""
    temperature_max: Temperature | None = None
    """Cap on the request's temperature: variety given up for speed, told in the answer's x-alpharoute-capped."""
    top_p_max: Annotated[float, Field(gt=0, le=1)] | None = None
    """Cap on the request's top_p, told there too."""

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        if self.mode is not None and self.speculation is not None:
            raise ValueError("mode and speculation say the same: set one of them")
        return self

    @property
    def wanted(self) -> Mode | None:
        """Whether speculation is decided, off or on, by whichever name it was set."""
        return self.mode if self.speculation is None else self.speculation

    @property
    def caps(self) -> bool:
        """Whether it changes what the engine is asked."""
        return self.temperature_max is not None or self.top_p_max is not None


class Rule(Part):
    """When … then …, with a name for explanations."""

    name: str = ""
    """Shown in explanations."""
    when: When = When()
    """Where it applies."""
    then: Then
    """What it does."""
