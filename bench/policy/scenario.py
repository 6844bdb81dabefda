"""What happens in a run: the cluster, the traffic and how it changes, read from a YAML file or from the protocol."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from bench.policy.calibration import Calibration, Drafter, Part, Share, load_calibration
from bench.policy.reading import known, read_mapping, validated
from policies.request import Bucket

Weight = Annotated[float, Field(ge=0)]


class PoolSize(Part):
    """Replicas of one pool; `drafter` None is a vanilla pool."""

    drafter: str | None = None
    replicas: Annotated[int, Field(ge=1)] = 1


class Phase(Part):
    """From `at` (share of the run, 0–1): a mix of tasks, a factor on h, or another drafter's curves; None leaves as
    it was.

    `h_change` is added to every conditional acceptance h (−.3: acceptance collapses). `drafters` replaces curves by
    name.
    """

    at: Share
    mix: dict[str, Weight] | None = None
    h_change: float | None = None
    h_change_tasks: tuple[str, ...] | None = None
    drafters: dict[str, str] | None = None
    load: Annotated[float, Field(gt=0)] | None = None
    slow_replica: Annotated[float, Field(gt=0)] | None = None


class Scenario(Part):
    """One run. `load` is the offered share of the capacity that the same replicas would have without speculation.

    `drafters` are in place of the calibration's: their costs, and per task the survival curve and the streaks. `traces`
    is a file of recorded answers, in place of both.
    `noise` is the share of requests whose task label is wrong; with `doubts` labels come with calibrated probabilities.
    `temperatures` is a mix; `routers` share state through a store that they read every `refresh_s`; `burst` > 1 makes
    arrivals come in bursts of that mean size.
    """

    name: str
    calibration: str = "h100-8b-eagle"
    drafters: dict[str, Drafter] = Field(default_factory=dict)
    traces: str | None = None
    requests: Annotated[int, Field(ge=10)] = 3000
    load: Annotated[float, Field(gt=0)] = 0.5
    pools: tuple[PoolSize, ...] | None = None
    mix: dict[str, Weight] = Field(default_factory=dict)
    temperatures: dict[Bucket, Weight] = Field(default_factory=lambda: dict[Bucket, float]({"0": 1.0}))
    noise: Share = 0.0
    doubts: bool = False
    burst: Annotated[float, Field(ge=1)] = 1.0
    abort: Share = 0.01
    routers: Annotated[int, Field(ge=1)] = 1
    refresh_s: Annotated[float, Field(gt=0)] = 1.0
    flush_s: Annotated[float, Field(gt=0)] = 0.2
    heartbeat_s: Annotated[float, Field(gt=0)] = 0.5
    tpot_target_ms: Annotated[float, Field(gt=0)] | None = None
    phases: tuple[Phase, ...] = ()
    extra_drafters: dict[str, Drafter] = Field(default_factory=dict)
    warm: Share = 0.1

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for field, shares in (("mix", self.mix or None), ("temperatures", self.temperatures)):
            if shares is not None and sum(shares.values()) <= 0:
                raise ValueError(f"{field}: one share at least must be above 0")
        starts = [phase.at for phase in self.phases]
        if starts != sorted(starts):
            raise ValueError(f"phases: their `at` must rise, got {starts!r}")
        return self

    def loaded(self) -> Calibration:
        """The calibration this scenario runs on; ValueError where the scenario names what it does not have."""
        found = load_calibration(self.calibration)
        if self.drafters:
            found = found.model_copy(update={"drafters": self.drafters})
        known("pools.drafter", [pool.drafter for pool in self.pools or () if pool.drafter], found.drafters)
        known("mix", self.mix, found.tasks)
        for i, phase in enumerate(self.phases):
            known(f"phases.{i}.mix", phase.mix or (), found.tasks)
            known(f"phases.{i}.h_change_tasks", phase.h_change_tasks or (), found.tasks)
            known(f"phases.{i}.drafters", phase.drafters or (), found.drafters)
            known(f"phases.{i}.drafters (to)", (phase.drafters or {}).values(), self.extra_drafters)
        return found

    def cluster(self, calibration: Calibration) -> tuple[PoolSize, ...]:
        """The pools: those named, else one vanilla replica and three that speculate, shared between the drafters."""
        if self.pools is not None:
            return self.pools
        names = list(calibration.drafters)
        if len(names) == 1:
            return (PoolSize(replicas=1), PoolSize(drafter=names[0], replicas=3))
        return (
            PoolSize(replicas=1),
            *(PoolSize(drafter=name, replicas=2 if i == 0 else 1) for i, name in enumerate(names)),
        )


def load_scenario(name: str) -> Scenario:
    """Read a scenario from a YAML file; ValueError names what is wrong.

    Files that it names, of a calibration and of traces, are looked for beside it first.
    """
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"scenario {name!r}: neither a name of the protocol nor a file")
    found = validated(Scenario, read_mapping(path), str(path))
    named = {"calibration": found.calibration, "traces": found.traces}
    beside = {field: str(path.parent / name) for field, name in named.items() if name}
    return found.model_copy(update={field: name for field, name in beside.items() if Path(name).is_file()})
