"""What a dry run, a shadow and a canary tell; what fills it is in `steering_replay` and `steering_trials`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Comparison:
    """One policy against another over the same decisions, of one task or of all (`task` empty).

    `pool_changed` and `k_changed` are shares of the decisions; pairs are (now, then). `ratio` is the predicted time per
    token then over now, below 1 where the other policy is faster, with its 95 % interval `low` to `high`.
    """

    task: str
    decisions: int
    pool_changed: float = 0.0
    k_changed: float = 0.0
    mean_k: tuple[float, float] = (0.0, 0.0)
    ms_per_token: tuple[float, float] = (0.0, 0.0)
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a policy would have decided differently from `against`, by what is known now.

    `left_out` counts recorded decisions that could not be replayed, by reason; `pools` and `ks` count decisions
    (now, then); `notes` say what the figures do not tell.
    """

    decisions: int
    total: Comparison
    tasks: tuple[Comparison, ...] = ()
    pools: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    ks: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a shadow decided beside the active policy, over all routers; `skipped` were trials and hold-outs."""

    total: Comparison
    tasks: tuple[Comparison, ...] = ()
    pools: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    ks: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a canary: `requests` were decided, `measured` of them told their time per token."""

    requests: int = 0
    measured: int = 0
    errors: int = 0
    guard_trips: int = 0
    ms_per_token: float = 0.0
    p99_ms_per_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary against the rest of the traffic; `slower` is its time per token over theirs, less 1, task by task.

    `low` to `high` holds at whatever moment it is read. `fault` says why it must stop; None as long as nothing speaks
    against it.
    """

    rest: Arm
    canary: Arm
    slower: float = 0.0
    low: float = 0.0
    high: float = 0.0
    fault: str | None = None
