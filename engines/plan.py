"""What Ray will be asked for by the pools of a configuration, and what cannot be right about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engines.placement import placement_arguments
from engines.pool import PoolSettings
from engines.vllm_flags import argument


@dataclass(frozen=True, slots=True)
class Cluster:
    """The machines there are: `nodes` of `node_gpus` GPUs each."""

    nodes: int
    node_gpus: int


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One pool as it is deployed: what each replica reserves, by whom, and what vLLM is told.

    `bundles` are Ray's for one replica; `reserved_by` says whether Serve's placement group holds them or the one that
    vLLM's Ray executor makes.
    """

    name: str
    model: str
    target: str
    drafter: str | None
    method: str | None
    replicas: int
    max_replicas: int
    bundles: tuple[dict[str, float], ...]
    reserved_by: Literal["serve", "vllm"]
    arguments: tuple[str, ...]
    gpus: float

    @property
    def most_gpus(self) -> float:
        """GPUs of all its replicas, when there are as many as may be."""
        return self.gpus * self.max_replicas


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """All pools, what contradicts what, and what an operator may not have meant."""

    pools: tuple[PoolPlan, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def deployment_plan(pools: Sequence[PoolSettings], cluster: Cluster | None = None) -> DeploymentPlan:
    """The plan of these pools on that cluster (None: only what holds anywhere)."""
    plans = tuple(_pool_plan(pool) for pool in pools)
    problems = [problem for pool in pools for problem in _contradictions(pool)]
    problems += _models(pools)
    if cluster is not None:
        problems += _too_much(plans, cluster)
    return DeploymentPlan(plans, tuple(problems), tuple(note for pool in pools for note in _notes(pool)))


def _pool_plan(pool: PoolSettings) -> PoolPlan:
    placement = pool.placement
    over_ray = placement.executor == "ray"
    serve = {"CPU": pool.cpus} | ({"GPU": pool.reserved_gpus()} if pool.reserved_gpus() else {}) | placement.resources
    bundles: tuple[dict[str, float], ...] = ({"GPU": 1.0},) * placement.gpus if over_ray else (serve,)
    return PoolPlan(
        name=pool.name,
        model=pool.model,
        target=pool.target,
        drafter=pool.drafter,
        method=pool.method,
        replicas=pool.replicas,
        max_replicas=pool.autoscaling.max_replicas or pool.replicas,
        bundles=bundles,
        reserved_by="vllm" if over_ray else "serve",
        arguments=placement_arguments(placement),
        gpus=float(placement.gpus) if over_ray else pool.reserved_gpus(),
    )


def serve_options(pool: PoolSettings) -> dict[str, Any]:
    """How many replicas of a pool Serve keeps and what Ray reserves for each, as options of `serve.deployment`.

    Several GPUs are one bundle of a placement group, so that they are on one node.
    """
    gpus, further = pool.reserved_gpus(), pool.placement.resources
    options: dict[str, Any] = {"num_cpus": pool.cpus, "num_gpus": gpus} | ({"resources": further} if further else {})
    if gpus <= 1:
        return {"ray_actor_options": options, **_count(pool)}
    bundle = {"CPU": pool.cpus, "GPU": gpus, **further}
    group = {"placement_group_bundles": [bundle], "placement_group_strategy": "STRICT_PACK"}
    return {"ray_actor_options": options, **group, **_count(pool)}


def _count(pool: PoolSettings) -> dict[str, Any]:
    """A fixed number of replicas, or the bounds that Serve's autoscaler keeps to."""
    scaling = pool.autoscaling
    if scaling.fixed:
        return {"num_replicas": pool.replicas}
    sleeps = scaling.idle_s is not None
    options: dict[str, Any] = {
        "min_replicas": 0 if sleeps else pool.replicas,
        "initial_replicas": pool.replicas,
        "max_replicas": scaling.max_replicas or pool.replicas,
        "target_ongoing_requests": scaling.target_requests,
        "upscale_delay_s": scaling.up_delay_s,
        "downscale_delay_s": scaling.down_delay_s,
        "policy": {"policy_function": "engines.autoscaling:by_load"},
    }
    if sleeps:
        given = {"least": pool.replicas, "idle_requests": scaling.idle_requests}
        options["policy"] = {"policy_function": "engines.autoscaling:ByLoadOrNone", "policy_kwargs": given}
        options["downscale_to_zero_delay_s"] = scaling.idle_s
    return {"autoscaling_config": options}


def _contradictions(pool: PoolSettings) -> Iterator[str]:
    """What the settings' own checks cannot see: they pass arguments on as they are."""
    parallel = argument(pool.vllm.args, "--tensor-parallel-size")
    if parallel is not None and parallel.isdigit() and int(parallel) > max(1.0, pool.reserved_gpus()):
        yield f"pool {pool.name!r}: vllm.args spread it over {parallel} GPUs, Ray reserves {pool.reserved_gpus():g}"
    if pool.gpus > 1 and pool.placement.gpus == 1 and parallel is None and pool.engine == "vllm":
        yield (
            f"pool {pool.name!r}: Ray reserves {pool.gpus:g} GPUs and vLLM uses one: set placement.tensor_parallel, or "
            "vllm.args"
        )
    if pool.vllm.device == "gpu" and not pool.gpus and pool.placement.gpus == 1 and pool.engine == "vllm":
        yield f"pool {pool.name!r}: vllm.device is 'gpu' and gpus is 0: replicas would share GPUs unseen by Ray"


def _models(pools: Sequence[PoolSettings]) -> Iterator[str]:
    """Pools that answer for one model must have one target: the router moves requests between them."""
    first: dict[str, PoolSettings] = {}
    for pool in (pool for pool in pools if pool.engine == "vllm"):
        other = first.setdefault(pool.model, pool)
        if other.target != pool.target:
            yield (
                f"pools {other.name!r} and {pool.name!r} serve {pool.model!r} from other targets, {other.target!r} and "
                f"{pool.target!r}: answers would depend on the router's choice"
            )


def _notes(pool: PoolSettings) -> Iterator[str]:
    if pool.autoscaling.idle_s is not None:
        yield (
            f"pool {pool.name!r}: sleeps when idle for {pool.autoscaling.idle_s:g} s; what it reserves is free for "
            "others meanwhile, and waking up waits until Ray finds as much again"
        )
    if pool.placement.executor == "ray":
        yield (
            f"pool {pool.name!r}: vLLM's Ray executor wants its driver on a node with one of its GPUs: bind the "
            "replica to such nodes with placement.resources"
        )
    if pool.placement.pipeline_parallel > 1 and pool.method in ("draft_model", "medusa"):
        yield f"pool {pool.name!r}: with stages, see that this vLLM drafts by {pool.method!r} before relying on it"


def _too_much(plans: Sequence[PoolPlan], cluster: Cluster) -> Iterator[str]:
    there = cluster.nodes * cluster.node_gpus
    for plan in plans:
        if plan.reserved_by == "serve" and plan.gpus > cluster.node_gpus:
            yield (
                f"pool {plan.name!r}: a replica needs {plan.gpus:g} GPUs on one node, nodes have {cluster.node_gpus}: "
                "placement.executor 'ray' spreads it over several"
            )
    if (least := sum(plan.gpus * plan.replicas for plan in plans)) > there:
        yield f"the pools need {least:g} GPUs at the least, {cluster.nodes} nodes have {there}"
    elif (most := sum(plan.most_gpus for plan in plans)) > there:
        yield f"the pools may grow to {most:g} GPUs, {cluster.nodes} nodes have {there}: lower max_replicas"
