"""Where replicas lie: what vLLM and Ray are told, and the contradictions that are refused."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engines.mix import PoolTraffic, advised_mix, traffic_of_metrics
from engines.placement import FLAGS, placement_arguments
from engines.plan import Cluster, DeploymentPlan, deployment_plan, serve_options
from engines.pool import PoolSettings
from engines.vllm_command import build_command


def _pool(**fields: Any) -> PoolSettings:
    return PoolSettings.model_validate({"name": "p", "target": "org/target", **fields})


def _spread(**placement: Any) -> PoolSettings:
    return _pool(placement=placement, vllm={"device": "gpu"})


def test_one_gpu_needs_no_placement() -> None:
    """Nothing is added to vLLM's arguments, and Ray is asked for what it always was."""
    pool = _pool(gpus=0.5)
    assert placement_arguments(pool.placement) == ()
    assert serve_options(pool) == {"ray_actor_options": {"num_cpus": 1.0, "num_gpus": 0.5}, "num_replicas": 1}


def test_tensor_parallel_is_one_bundle_on_one_node() -> None:
    """Serve reserves all the GPUs of a replica together; vLLM's own processes use them."""
    pool = _spread(tensor_parallel=4, resources={"accelerator_type:H100": 0.001})
    assert placement_arguments(pool.placement) == (
        *("--tensor-parallel-size", "4", "--distributed-executor-backend", "mp"),
    )
    argv = build_command(pool, host="h", port=1, api_key="k").argv
    assert argv[argv.index("--tensor-parallel-size") + 1] == "4"
    options = serve_options(pool)
    assert options["placement_group_bundles"] == [{"CPU": 1.0, "GPU": 4.0, "accelerator_type:H100": 0.001}]
    assert options["placement_group_strategy"] == "STRICT_PACK"
    assert options["ray_actor_options"]["num_gpus"] == 4, "the replica's own actor takes the whole bundle"


def test_several_nodes_are_vllm_s_to_reserve() -> None:
    """Its Ray executor makes the placement group: Serve must not take the same GPUs."""
    pool = _spread(tensor_parallel=8, pipeline_parallel=2, executor="ray")
    assert placement_arguments(pool.placement)[-2:] == ("--distributed-executor-backend", "ray")
    assert serve_options(pool)["ray_actor_options"]["num_gpus"] == 0
    (plan,) = deployment_plan([pool]).pools
    assert (plan.reserved_by, plan.bundles, plan.gpus) == ("vllm", ({"GPU": 1.0},) * 16, 16)


def test_the_installed_vllm_knows_these_arguments() -> None:
    """Read from its source: a flag that it renames must not be found out on a GPU."""
    vllm = find_spec("vllm")
    if vllm is None or not vllm.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    source = (Path(vllm.submodule_search_locations[0]) / "engine" / "arg_utils.py").read_text()
    known = set(re.findall(r'"(--?[a-z][a-z-]*)"', source))
    assert set(FLAGS.values()) <= known
    parallel = (Path(vllm.submodule_search_locations[0]) / "config" / "parallel.py").read_text()
    assert re.search(r'DistributedExecutorBackend = Literal\[[^\]]*"ray"[^\]]*"mp"|"mp"[^\]]*"ray"', parallel)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gpus": 2, "placement": {"tensor_parallel": 4}}, "gpus must be tensor_parallel times pipeline_parallel, 4"),
        ({"gpus": 4, "placement": {"tensor_parallel": 4, "executor": "ray"}}, "gpus must be 0 with placement.executor"),
        (
            {"placement": {"tensor_parallel": 2}, "vllm": {"args": ["-tp", "2"]}},
            "vllm.args holds --tensor-parallel-size, and so does placement",
        ),
        (
            {"placement": {"tensor_parallel": 2}, "vllm": {"args": ["--pipeline_parallel_size=2"]}},
            "vllm.args holds --pipeline-parallel-size, and so does placement",
        ),
        ({"placement": {"tensor_parallel": 2}, "vllm": {"device": "cpu"}}, "placement asks for 2 GPUs"),
        ({"placement": {"tensor_parallel": 2}, "engine": "simulator"}, "placement goes with engine 'vllm' alone"),
        ({"placement": {"resources": {"GPU": 1}}}, "'GPU' must be above 0, and cpus and gpus"),
        (
            {
                "placement": {"tensor_parallel": 4},
                "drafter": "org/d",
                "method": "draft_model",
                "k_max": 2,
                "vllm": {"speculative": {"draft_tensor_parallel_size": 2}},
            },
            "draft_tensor_parallel_size must be 1 or 4",
        ),
        ({"replicas": 3, "autoscaling": {"max_replicas": 2}}, "max_replicas must be at least replicas"),
        (
            {"engine": "url", "urls": ["http://a"], "autoscaling": {"idle_s": 60}},
            "autoscaling is for engines that",
        ),
        (
            {"engine": "url", "urls": ["http://a"], "autoscaling": {"max_replicas": 2}},
            "autoscaling is for engines that",
        ),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], said: str) -> None:
    """Where settings are read: with the field, its value and what it should be."""
    with pytest.raises(ValidationError, match=re.escape(said)):
        _pool(**fields)


def test_replicas_follow_the_load_where_the_pool_says_so() -> None:
    """Serve's autoscaler with the project's own count of requests; the pool's replicas are the fewest."""
    options = serve_options(_pool(replicas=2, autoscaling={"max_replicas": 6, "target_requests": 16}))
    scaling = options["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["target_ongoing_requests"]) == (2, 6, 16)
    assert "num_replicas" not in options


def test_a_pool_that_may_sleep_has_no_fewest() -> None:
    """Serve's own delay of the last replica is the pool's; the plan says what sleep means for its GPUs."""
    pool = _pool(replicas=2, autoscaling={"idle_s": 900, "idle_requests": 0.5}, gpus=1)
    scaling = serve_options(pool)["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["initial_replicas"], scaling["max_replicas"]) == (0, 2, 2)
    assert scaling["downscale_to_zero_delay_s"] == 900
    assert scaling["policy"] == {
        "policy_function": "engines.autoscaling:ByLoadOrNone",
        "policy_kwargs": {"least": 2, "idle_requests": 0.5},
    }
    assert "sleeps when idle for 900 s" in deployment_plan([pool]).notes[0]


def _problems(*pools: PoolSettings, nodes: int = 1, gpus: int = 8) -> DeploymentPlan:
    return deployment_plan(pools, Cluster(nodes, gpus))


def test_a_plan_adds_up() -> None:
    """Two drafters over one target on two nodes of eight GPUs: sixteen are needed, sixteen are there."""
    shared: dict[str, Any] = {"model": "llama", "placement": {"tensor_parallel": 4}, "vllm": {"device": "gpu"}}
    pools = (
        _pool(**{**shared, "name": "vanilla"}, replicas=2),
        _pool(**{**shared, "name": "small"}, drafter="org/small", method="draft_model", k_max=4),
        _pool(**{**shared, "name": "head"}, drafter="org/head", method="eagle3", k_max=4),
    )
    found = _problems(*pools, nodes=2)
    assert found.problems == ()
    assert sum(plan.most_gpus for plan in found.pools) == 16
    (problem,) = _problems(*pools, nodes=1).problems
    assert problem == "the pools need 16 GPUs at the least, 1 nodes have 8"


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        ([{"gpus": 2, "vllm": {"args": ["-tp=4"]}}], "spread it over 4 GPUs, Ray reserves 2"),
        ([{"gpus": 2, "vllm": {"args": ["--tensor_parallel_size", "4"]}}], "spread it over 4 GPUs, Ray reserves 2"),
        ([{"gpus": 4}], "Ray reserves 4 GPUs and vLLM uses one"),
        ([{"vllm": {"device": "gpu"}}], "replicas would share GPUs unseen by Ray"),
        ([{"placement": {"tensor_parallel": 16}}], "needs 16 GPUs on one node, nodes have 8"),
        ([{"gpus": 1, "autoscaling": {"max_replicas": 64}}], "may grow to 64 GPUs, 4 nodes have 32"),
        ([{"name": "a", "gpus": 1}, {"name": "b", "gpus": 1, "target": "org/other"}], "from other targets"),
    ],
)
def test_a_plan_names_its_contradictions(pools: list[dict[str, Any]], said: str) -> None:
    """What one pool's own checks cannot see."""
    found = _problems(*(_pool(**fields) for fields in pools), nodes=4)
    assert [problem for problem in found.problems if said in problem], found.problems


def test_the_mix_follows_the_work() -> None:
    """Eight replicas, five eighths of the work speculative: three and five; each pool keeps one."""
    traffic = [PoolTraffic("vanilla", 100, 300.0), PoolTraffic("draft", 100, 450.0, waited_s=50.0)]
    found = advised_mix(traffic, {"vanilla": 4, "draft": 4})
    assert {one.pool: one.advised for one in found} == {"vanilla": 3, "draft": 5}
    idle = advised_mix([PoolTraffic("vanilla", 9, 900.0)], {"vanilla": 2, "draft": 2, "ngram": 4})
    assert {one.pool: one.advised for one in idle} == {"vanilla": 6, "draft": 1, "ngram": 1}


def test_little_traffic_gives_no_advice() -> None:
    """Less than a minute of generation says nothing."""
    assert advised_mix([PoolTraffic("a", 5, 59.0)], {"a": 1, "b": 1}) == ()


PAGE = """# HELP alpharoute_decisions_total Choices made.
alpharoute_decisions_total{k="0",pool="vanilla",reason="fastest",router="r1",task="other"} 10.0
alpharoute_decisions_total{k="4",pool="draft",reason="fastest",router="r1",task="sql_generation"} 30.0
alpharoute_decisions_total{k="4",pool="draft",reason="held",router="r2",task="sql_generation"} 10.0
alpharoute_output_tokens_total{pool="vanilla",router="r1",task="other"} 1000.0
alpharoute_output_tokens_total{pool="draft",router="r1",task="sql_generation"} 4000.0
alpharoute_time_per_output_token_seconds_count{pool="vanilla",router="r1",task="other"} 10.0
alpharoute_time_per_output_token_seconds_sum{pool="vanilla",router="r1",task="other"} 0.2
alpharoute_time_per_output_token_seconds_count{pool="draft",router="r1",task="sql_generation"} 40.0
alpharoute_time_per_output_token_seconds_sum{pool="draft",router="r1",task="sql_generation"} 0.4
alpharoute_queue_seconds_sum{pool="draft",router="r1"} 5.0
"""


def test_traffic_is_read_from_metrics() -> None:
    """Tokens by mean time per token, decisions over all routers, waits."""
    draft, vanilla = traffic_of_metrics(PAGE)
    assert (draft.pool, draft.requests, draft.waited_s) == ("draft", 40, 5.0)
    assert [draft.busy_s, vanilla.busy_s] == pytest.approx([40.0, 20.0])
