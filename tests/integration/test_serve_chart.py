"""The chart's serveConfigV2, handed to a real Ray head by `serve deploy` as KubeRay does it."""

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from chart import CHART, Object, environment, merged, ray_pods, serve_config, values_of
from ray_head import RayHead, ray_head

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(360)]

READY_LIMIT_S = 150.0

COMMON: Object = {"model": "demo", "engine": "simulator", "accelerator": "cpu", "cpus": 0.5}
VANILLA: Object = {**COMMON, "name": "vanilla"}
DRAFT: Object = {**COMMON, "name": "draft", "drafter": "small", "method": "draft_model", "k_max": 4}
SIMULATED: Object = {"pools": [VANILLA, DRAFT], "settings": {"router": {"heartbeat_s": 0.2}}}
"""values-cpu-demo.yaml with simulators in place of vLLM, which would take minutes to start."""

CHAT = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 32, "stream": True}


def _config(policy_file: Path, **over: Any) -> Object:
    """What the chart hands to Serve; pods have the policy mounted elsewhere."""
    config = deepcopy(serve_config(_values(**over)))
    config["applications"][0]["args"]["policy_file"] = str(policy_file)
    return config


def _values(**over: Any) -> Object:
    return merged(values_of("cpu-demo"), merged(SIMULATED, over))


def _pod_environment(values: Object) -> dict[str, str]:
    variables = {name: v["value"] for name, v in environment(ray_pods(values)["router"]).items() if "value" in v}
    return {name: value for name, value in variables.items() if name not in {"HOME", "HF_HOME"}}


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the ConfigMap holds at first."""
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text("{}")
    return file


@pytest.fixture(scope="module")
def head(redis_url: str, policy_file: Path) -> Iterator[RayHead]:
    """One node that offers what the router pods and engine pods offer."""
    own = {
        "ALPHAROUTE_REDIS__URL": redis_url,
        "ALPHAROUTE_REDIS__PREFIX": f"chart-{uuid.uuid4().hex[:8]}",
        # Load balancers of a cluster learn slowly that a router ends; here HAProxy is told at once.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    }
    resources = {"alpharoute_router": 1000, "alpharoute_on_cpu": 1000}
    with ray_head(resources, {**_pod_environment(_values()), **own}) as running:
        yield running


@pytest.fixture(scope="module")
def first_deployed(head: RayHead, policy_file: Path) -> Object:
    """What Serve says once the first deploy runs; the tests come in any order, and one deploys again."""
    head.deploy(_config(policy_file))
    return head.until_running(READY_LIMIT_S)


@pytest.fixture
def deployed(head: RayHead, first_deployed: Object) -> RayHead:
    """The head with the application on it."""
    return head


async def _ask(session: aiohttp.ClientSession, speculation: str = "auto") -> tuple[str, str]:
    """The pool that answered and why it; raises where any of the answer is missing."""
    headers = {"x-alpharoute-task": "sql_generation", "x-alpharoute-speculation": speculation}
    async with session.post("/v1/chat/completions", json=CHAT, headers=headers) as answer:
        body = await answer.text()
    assert answer.status == 200, body
    assert body.rstrip().endswith("data: [DONE]")
    return answer.headers["x-alpharoute-pool"], answer.headers["x-alpharoute-decision"]


def _edit(policy_file: Path, text: str) -> None:
    policy_file.write_text(text)


def _replicas(application: Object) -> set[str]:
    return {replica["replica_id"] for d in application["deployments"].values() for replica in d["replicas"]}


async def test_it_answers_a_routed_request(deployed: RayHead, first_deployed: Object) -> None:
    """Deployed as the chart says, by name and number, it routes."""
    deployments = first_deployed["deployments"]
    assert {name: len(d["replicas"]) for name, d in deployments.items()} == {
        "router": 1,
        "engine-vanilla": 1,
        "engine-draft": 1,
    }
    async with aiohttp.ClientSession(deployed.url) as session:
        assert (await _ask(session))[0] in {"vanilla", "draft"}


def test_helm_test_is_content(deployed: RayHead) -> None:
    """The script of the chart's test pod, against what the chart deployed."""
    script = CHART / "files" / "ask.py"
    done = subprocess.run(
        [sys.executable, script, deployed.url], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo: pool ")


async def test_an_edit_of_the_policy_restarts_nothing(deployed: RayHead, policy_file: Path) -> None:
    """Within seconds every request goes by the new one, from the same replicas."""
    before = _replicas(deployed.application())
    _edit(policy_file, "kill_switch: true")
    deadline = time.monotonic() + 20
    async with aiohttp.ClientSession(deployed.url) as session:
        while (seen := await _ask(session))[1] != "kill_switch":
            assert time.monotonic() < deadline, f"still {seen}"
            await asyncio.sleep(0.1)
    assert _replicas(deployed.application()) == before
    _edit(policy_file, "{}")


async def test_a_second_deploy_under_load_loses_no_request(deployed: RayHead, policy_file: Path) -> None:
    """Other settings replace every replica and other counts add some; each stream meanwhile ends whole."""
    pools = [{**pool, "replicas": {"min": 2, "max": 2}} for pool in (VANILLA, DRAFT)]
    settings = {"router": {"heartbeat_s": 0.2}, "limits": {"body_bytes": 65536}}
    config = _config(policy_file, router={"replicas": {"min": 2, "max": 2}}, pools=pools, settings=settings)
    _edit(policy_file, "tasks: {creative_writing: {mode: vanilla}}")
    before = _replicas(deployed.application())
    answered, over = 0, asyncio.Event()

    async def client() -> None:
        nonlocal answered
        while not over.is_set():
            # A new connection for each: kept ones would never meet a router that is new.
            async with aiohttp.ClientSession(deployed.url) as session:
                await _ask(session)
            answered += 1

    clients = [asyncio.create_task(client()) for _ in range(4)]
    try:
        await asyncio.to_thread(deployed.deploy, config)
        seen = await asyncio.to_thread(deployed.until_running, READY_LIMIT_S)
        until = answered + 40
        while answered < until:
            done, _ = await asyncio.wait(clients, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            assert not done, "a client ended"
    finally:
        over.set()
        results = await asyncio.gather(*clients, return_exceptions=True)
    assert [repr(result) for result in results if result is not None] == []
    assert {name: len(d["replicas"]) for name, d in seen["deployments"].items()} == dict.fromkeys(
        ("router", "engine-vanilla", "engine-draft"), 2
    )
    assert not before & _replicas(seen), "a change of the arguments replaces every replica"
    print(f"{answered} requests answered, none lost")


async def test_a_pool_that_sleeps_ends_its_last_replica_and_is_called_back(
    deployed: RayHead, policy_file: Path
) -> None:
    """`replicas.idleSeconds`: no replica while nobody wants it, with the application as healthy as before; one again
    once requests would choose it. No request fails."""
    idle = {"idleSeconds": 1, "idleRequests": 0, "upDelaySeconds": 0, "downDelaySeconds": 1}
    deployed.deploy(_config(policy_file, pools=[VANILLA, {**DRAFT, "replicas": idle}]))
    await asyncio.to_thread(deployed.until_running, READY_LIMIT_S)
    await _until(deployed, "off", lambda pool, replicas: replicas == 0)
    slept = await asyncio.to_thread(deployed.until_running, READY_LIMIT_S)
    assert len(slept["deployments"]["engine-vanilla"]["replicas"]) == 1
    await _until(deployed, "auto", lambda pool, replicas: pool == "draft" and replicas == 1)


async def _until(head: RayHead, speculation: str, good: Callable[[str, int], bool]) -> None:
    """Ask until the pool that answered and the replicas of `draft` are as wanted."""
    deadline = time.monotonic() + READY_LIMIT_S
    while True:
        async with aiohttp.ClientSession(head.url) as session:
            pool, _ = await _ask(session, speculation)
        replicas = len((await asyncio.to_thread(head.application))["deployments"]["engine-draft"]["replicas"])
        if good(pool, replicas):
            return
        assert time.monotonic() < deadline, f"{pool} answers, draft has {replicas} replicas"
        await asyncio.sleep(0.2)
