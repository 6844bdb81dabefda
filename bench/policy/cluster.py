"""Who runs where: an entrant of the comparison, and the replicas it gets."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.policy.calibration import Calibration, costs
from bench.policy.scenario import PoolSize, Scenario
from engines.vllm_probe import PROBED_BATCHES, PROBED_ROUNDS, WIDE_BATCH, measured_ks
from policies.document import Document
from policies.replica import Pool, Replica, StepTime
from policies.rules import Target

MODEL = "sim"

Truths = Literal["acceptance", "costs", "lengths"]


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy to run: its name, where it runs (`mixed`, `vanilla` or `speculative` replicas), and what it is told.

    `told` names the truths that it need not learn. An oracle is told all of them, and neither explores nor hesitates.
    `scheduled`: the engines set k by their batch, whatever the policy asks for.
    """

    name: str
    policy: str
    cluster: str = "mixed"
    oracle: bool = False
    hindsight: bool = False
    labelled: bool = False
    scheduled: bool = False
    told: frozenset[Truths] = frozenset()
    document: Document = field(default_factory=Document)

    def document_in(self, scenario: Scenario) -> Document:
        """Its document; one that is after goodput is told the scenario's target."""
        objective = self.document.objective
        if objective.kind != "goodput" or scenario.tpot_target_ms is None:
            return self.document
        aimed = objective.model_copy(update={"targets": {"default": Target(tpot_ms=scenario.tpot_target_ms)}})
        return self.document.model_copy(update={"objective": aimed})


def replicas_of(scenario: Scenario, calibration: Calibration, cluster: str, seed: int) -> list[Replica]:
    """The replicas of a run, each probed for itself; `vanilla` and `speculative` give every replica to that one pool
    (the first drafter's)."""
    sizes = scenario.cluster(calibration)
    total = sum(size.replicas for size in sizes)
    if cluster == "vanilla":
        sizes = (PoolSize(replicas=total),)
    elif cluster == "speculative":
        first = next(size.drafter for size in sizes if size.drafter is not None)
        sizes = (PoolSize(drafter=first, replicas=total),)
    found: list[Replica] = []
    for size in sizes:
        name = size.drafter or "vanilla"
        method = calibration.drafters[size.drafter].method if size.drafter else None
        k_max = calibration.k_max if size.drafter else 0
        pool = Pool(name, MODEL, "target@1", size.drafter, method, k_max)
        limit = calibration.max_running
        for number in range(size.replicas):
            luck = np.random.default_rng([seed, 11, len(found)])
            probe = _probe(calibration, size.drafter, k_max, luck)
            found.append(Replica(f"{name}-{number}", pool, max_running=limit, probe=probe))
    return found


def _probe(
    calibration: Calibration, drafter: str | None, k_max: int, luck: np.random.Generator
) -> tuple[StepTime, ...]:
    """What an engine's start-up probe would measure: at the batches and k of the product's, the fastest of as many
    rounds, each slowed by 5 % in the mean square.

    Of the wide batch, measured once, up to 15 % are missing while it fills (as much as 30 % in eight steps of vLLM's).
    """
    cost = costs(calibration, drafter)

    def point(batch: int, k: int, rounds: int, missing: float) -> StepTime:
        slowed = 1 + 0.05 * float(np.abs(luck.standard_normal(rounds)).min())
        return StepTime(batch, k, 1e3 * slowed * (1 - missing) * cost.step_s(batch, batch * k, k, 64.0 * batch))

    narrow = [point(batch, k, PROBED_ROUNDS, 0.0) for batch in PROBED_BATCHES for k in measured_ks(k_max)]
    if calibration.max_running < WIDE_BATCH:
        return tuple(narrow)
    return (*narrow, *(point(WIDE_BATCH, k, 1, 0.15 * float(luck.random())) for k in sorted({0, k_max})))


def capacity_tokens_s(scenario: Scenario, calibration: Calibration) -> float:
    """Tokens per second of the same number of vanilla replicas with every place taken, prefills included."""
    replicas = sum(size.replicas for size in scenario.cluster(calibration))
    batch = calibration.max_running
    output, prompt = calibration.output_tokens.mean, calibration.prompt_tokens.mean
    step_s = costs(calibration, None).step_s(batch, 0, 0, batch * (prompt + output / 2))
    prefill_s = prompt * calibration.prefill_per_token_ms / 1e3
    return replicas / (step_s / batch + prefill_s / output)
