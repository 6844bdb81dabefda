"""Settings of what the adaptive policy does by itself: trying, holding on, noticing change, checking itself."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """Base of every part of the document: frozen, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Exploration(Part):
    """How much traffic tries what the scores do not prefer: tasks parked on vanilla at `k`, and one k deeper."""

    enabled: bool = True
    """Whether traffic is used to try what the scores do not prefer."""
    share: Share = 0.02
    """Largest share of a task parked on vanilla that tries speculation."""
    share_by_root_n: Annotated[float, Field(ge=0)] = 0.04
    """That share is at most this over the root of the task's requests so far: 2 % up to four, .9 % from twenty.

    Old requests count less, so that answers of 30 steps come to no more than twenty."""
    deeper_share: Share = 0.01
    """Share that tries one k more, or for half of it another drafter of which too little is known to rule it out."""
    k: Annotated[int, Field(ge=1, le=32)] = 2
    """The k a parked task tries."""
    max_load: Share = 0.5
    """Share of the batch in use above which nothing is tried."""
    budget: Share = 0.001
    """Largest share of served time that trying may cost."""


class Hysteresis(Part):
    """What it takes to change a traffic class's pool or k: a gain, and to enter speculation a bound on the speed-up.

    Small on purpose: a large gain keeps requests from balancing between pools (3 % cost up to 4 % of the mean time at
    80 % load in the simulator).
    """

    gain: Share = 0.005
    """Predicted gain that is worth a change."""
    enter_bound: Positive = 0.97
    """Least lower bound of the speed-up to enter speculation."""


class Drift(Part):
    """CUSUM on the standardised residual of each request, and what an alarm does."""

    enabled: bool = True
    """Whether a change of acceptance raises an alarm."""
    slack: Annotated[float, Field(ge=0)] = 0.5
    """Residual, in standard deviations, that is no evidence."""
    alarm: Positive = 7.0
    """Sum of residuals that is an alarm."""
    keep: Positive = 4.0
    """Evidence kept after an alarm, in drafts."""
    probes: Annotated[int, Field(ge=0)] = 20
    """Requests that probe a task after its alarm."""
    stale_tasks: Annotated[int, Field(ge=2)] = 3
    """Tasks of one drafter whose alarms make it stale."""
    stale_within_s: Positive = 600.0
    """Time within which these count."""


class Guard(Part):
    """The never-slower guard: a randomised hold-out on vanilla, and how long a task that fails it stays there."""

    enabled: bool = True
    """Whether a hold-out checks that speculation is not slower."""
    hold_out: Share = 0.02
    """Largest share of requests held out."""
    budget: Share = 0.001
    """Largest share of served time that holding out may cost."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence at which a task counts as slower."""
    off_s: Positive = 600.0
    """First time a failing task stays on vanilla."""
    off_max_s: Positive = 7200.0
    """Longest such time; it doubles until then."""
