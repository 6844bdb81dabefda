"""Knowledge that nobody has: the true acceptance and step times, behind the same decision; the bound the others are
measured against."""

from dataclasses import dataclass, field
from statistics import fmean

from bench.policy.calibration import Calibration, costs
from bench.policy.cluster import Truths
from bench.policy.workload import Ints, Workload
from policies.cost import StepModel, Theta
from policies.document import Document
from policies.estimator import Curve
from policies.knowledge import Knowledge
from policies.mechanisms import Drift, Exploration, Guard, Hysteresis
from policies.replica import Pool, Replica
from policies.request import Request

SAMPLE = 400
"""Requests per task, bucket and phase from which a true curve is computed."""

Group = tuple[str, int, int, int]


@dataclass(slots=True)
class Truth:
    """True tokens per step: of a group of requests (drafter, task, bucket, phase), or of one request in hindsight."""

    workload: Workload
    k_max: int
    means: dict[tuple[Group, bool], tuple[float, ...]] = field(default_factory=dict)

    def of_task(self, drafter: str, request: int) -> tuple[float, ...]:
        """E(k) over the requests of this one's task, temperature and phase."""
        return self._of_group(drafter, request, self.workload.task, False)

    def of_label(self, drafter: str, request: int) -> tuple[float, ...]:
        """E(k) over the requests that the classifier took for the same task: the most that labels can tell."""
        return self._of_group(drafter, request, self.workload.label, True)

    def _of_group(self, drafter: str, request: int, names: Ints, labelled: bool) -> tuple[float, ...]:
        w = self.workload
        group = (drafter, int(names[request]), int(w.bucket[request]), int(w.phase[request]))
        found = self.means.get((group, labelled))
        if found is None:
            same = ((names == group[1]) & (w.bucket == group[2]) & (w.phase == group[3])).nonzero()[0][:SAMPLE]
            found = self.means[group, labelled] = tuple(
                self._mean(drafter, [int(i) for i in same], k) for k in range(self.k_max + 1)
            )
        return found

    def of_request(self, drafter: str, request: int) -> tuple[float, ...]:
        """E(k) of this very answer."""
        return tuple(self._mean(drafter, [request], k) for k in range(self.k_max + 1))

    def _mean(self, drafter: str, requests: list[int], k: int) -> float:
        """Tokens per step, those that the last step lands past the end included."""
        runs = [self.workload.run(drafter, i, k) for i in requests]
        steps = sum(run.steps for run in runs)
        return 1.0 + sum(sum(run.accepted) for run in runs) / max(1, steps)


@dataclass(slots=True)
class TrueKnowledge(Knowledge):
    """`Knowledge` whose curves, step times and lengths are the simulator's own, as far as `told` names them.

    `current` is the request being decided.
    """

    truth: Truth | None = None
    calibration: Calibration | None = None
    told: frozenset[Truths] = frozenset(("acceptance", "costs", "lengths"))
    hindsight: bool = False
    labelled: bool = False
    current: int = 0
    thetas: dict[str, StepModel] = field(default_factory=dict)

    def curve(self, request: Request, pool: Pool, now_s: float) -> Curve:
        """The true curve of the current request's task (or of itself)."""
        if "acceptance" not in self.told:
            return Knowledge.curve(self, request, pool, now_s)
        assert self.truth is not None
        name = pool.drafter_id
        known = self.truth.of_label if self.labelled else self.truth.of_task
        expected = (self.truth.of_request if self.hindsight else known)(name, self.current)
        nothing = (0.0,) * len(expected)
        inverse = tuple(1 / tokens for tokens in expected)
        return Curve((), (), 1.0, expected, inverse, inverse, nothing, nothing, 1e9, 1e9, 1.0, (), 0.0)

    def step_model(self, replica: Replica, now_s: float) -> StepModel:
        """The true step time."""
        if "costs" not in self.told:
            return Knowledge.step_model(self, replica, now_s)
        assert self.calibration is not None
        found = self.thetas.get(replica.pool.name)
        if found is None:
            c = costs(self.calibration, replica.pool.drafter)
            idle = 0.0 if replica.pool.k_max == 0 else c.idle_share * c.base_s
            theta: Theta = (
                c.base_s + idle,
                c.per_request_s,
                c.per_draft_s,
                c.base_s + c.speculating_s,
                c.per_k_s,
                1e3 * c.per_kv_token_s,
                self.calibration.prefill_per_token_ms,  # seconds per thousand
                0.0,
            )
            found = self.thetas[replica.pool.name] = StepModel((theta,) * 4, 1e9, 0.0)
        return found

    def output_tokens(self, request: Request) -> float:
        """The true mean length of answers."""
        if "lengths" not in self.told:
            return Knowledge.output_tokens(self, request)
        assert self.truth is not None
        return fmean(self.truth.workload.output_tokens[:SAMPLE].tolist())


PLAIN = Document(
    hysteresis=Hysteresis(gain=0.0, enter_bound=0.01),
    exploration=Exploration(enabled=False),
    drift=Drift(enabled=False),
    guard=Guard(enabled=False),
)
"""What is left of the policy when nothing is uncertain."""
