"""What the chart hands to Ray Serve is what the product builds."""

import json
import re
from collections.abc import Mapping

import pytest
import yaml
from chart import (
    CHART,
    ROOT,
    VALUES_FILES,
    Object,
    Values,
    application,
    container,
    environment,
    groups,
    merged,
    objects,
    pod_templates,
    ray_pods,
    serve_config,
    values_of,
)
from manifests import check
from serve_build import AutoscalingConfig, ServeDeploySchema, build_app

from engines.plan import serve_options
from engines.vllm_methods import METHODS
from router.config.settings import Limits, Settings
from router.local.haproxy import client_timeout_s

ALL = ("default", *VALUES_FILES)


@pytest.fixture
def pod_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The build runs in a Ray pod: its variables without secrets are set here."""
    for name, variable in environment(ray_pods({})["head"]).items():
        if name.startswith("ALPHAROUTE_"):
            monkeypatch.setenv(name, variable.get("value", "secret"))


def _built(values: Values) -> tuple[Settings, Mapping[str, Object]]:
    """The settings that `args` become, and each deployment's options in the configuration."""
    found = application(values)
    settings = Settings.model_validate(found["args"])
    build_app(settings)
    return settings, {deployment["name"]: deployment for deployment in found["deployments"]}


@pytest.mark.parametrize("name", ALL)
def test_serve_takes_the_configuration(name: str) -> None:
    """Ray Serve's own schema, by which `serve deploy` and the dashboard read it."""
    config = ServeDeploySchema.model_validate(serve_config(values_of(name)))
    assert [app.import_path for app in config.applications] == [
        "router.app:build_app",
        "router.console.deployment:build_console",
    ]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("pod_environment")
def test_build_app_takes_the_arguments(name: str) -> None:
    """The product's settings accept every field, and there is one deployment for the router and each pool."""
    settings, deployments = _built(values_of(name))
    assert set(deployments) == {"router", *(f"engine-{pool.name}" for pool in settings.pools)}
    assert settings.router.engine_host == "node"
    assert settings.redis.url.get_secret_value() != "embedded"


@pytest.mark.usefixtures("pod_environment")
def test_settings_of_the_product_pass_through() -> None:
    """What the chart has no value for is set under `settings` and `pools[].settings`."""
    over = {"settings": {"limits": {"body_bytes": 2048}, "router": {"sync_s": 0.5}, "queue": {"size": 9}}}
    settings, _ = _built(over)
    assert (settings.limits.body_bytes, settings.router.sync_s, settings.queue.size) == (2048, 0.5, 9)
    assert settings.router.engine_host == "node"
    assert settings.pools[0].vllm.max_model_len == 512


@pytest.mark.parametrize("name", ALL)
def test_every_replica_finds_a_group_that_has_room(name: str) -> None:
    """The resource that a deployment asks for is one group's, and a pod of it holds one replica at least."""
    values = values_of(name)
    offers = {}
    for group in groups(values).values():
        (resource,) = json.loads(json.loads(group["rayStartParams"]["resources"]))
        offers[resource] = container(group["template"])["resources"]["limits"]
    for deployment in application(values)["deployments"]:
        asked = deployment["ray_actor_options"]
        (resource,) = asked["resources"]
        assert asked["num_cpus"] <= _cpus(offers[resource]["cpu"])
        assert asked.get("num_gpus", 0) <= float(offers[resource].get("nvidia.com/gpu", 0))


def _cpus(quantity: str | float) -> float:
    text = str(quantity)
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


@pytest.mark.parametrize("name", ALL)
def test_groups_have_room_for_the_fewest_replicas(name: str) -> None:
    """The pods that are there from the start hold every deployment's minimum."""
    values = values_of(name)
    for group in groups(values).values():
        (resource,) = json.loads(json.loads(group["rayStartParams"]["resources"]))
        pods, limits = group["replicas"], container(group["template"])["resources"]["limits"]
        mine = [d for d in application(values)["deployments"] if resource in d["ray_actor_options"]["resources"]]
        cpus = sum(d["ray_actor_options"]["num_cpus"] * _fewest(d) for d in mine)
        gpus = sum(d["ray_actor_options"].get("num_gpus", 0) * _fewest(d) for d in mine)
        assert cpus <= pods * _cpus(limits["cpu"])
        assert gpus <= pods * float(limits.get("nvidia.com/gpu", 0))
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def _fewest(deployment: Object) -> int:
    scaling = deployment.get("autoscaling_config")
    return int(scaling["min_replicas"] if scaling else deployment["num_replicas"])


def test_replica_counts_are_not_arguments() -> None:
    """A change of `args` makes Serve restart every deployment; a change of counts must not."""
    more = {"router": {"replicas": {"min": 3, "max": 9}}}
    assert application({})["args"] == application(more)["args"]
    assert application({})["deployments"] != application(more)["deployments"]


def test_pools_scale_by_what_their_engines_report() -> None:
    """A range becomes Serve's autoscaling with the product's policy, a single number does not."""
    deployments = {d["name"]: d for d in application(values_of("multi-gpu"))["deployments"]}
    eagle = deployments["engine-eagle"]["autoscaling_config"]
    assert (eagle["min_replicas"], eagle["max_replicas"]) == (2, 6)
    assert eagle["policy"] == {"policy_function": "engines.autoscaling:by_load"}
    assert application({})["deployments"][1]["num_replicas"] == 1


SLEEPER: Object = {
    "name": "draft",
    "model": "demo",
    "target": "demo",
    "drafter": "demo",
    "method": "draft_model",
    "k_max": 4,
    "accelerator": "spare",
    "replicas": {"min": 2, "max": 3, "idleSeconds": 900, "upDelaySeconds": 5, "downDelaySeconds": 60},
}
AWAKE: Object = {"name": "vanilla", "model": "demo", "target": "demo", "accelerator": "cpu"}
SPARE: Object = {"resources": {"limits": {"cpu": "1", "memory": "4Gi"}}}


def _sleeping(**replicas: object) -> Object:
    """A pool that stays and one, on pods of its own, that may sleep."""
    sleeper = {**SLEEPER, "replicas": {**SLEEPER["replicas"], **replicas}}
    return {"pools": [AWAKE, sleeper], "accelerators": {"spare": SPARE}}


@pytest.mark.usefixtures("pod_environment")
def test_a_pool_that_sleeps_is_what_the_product_deploys() -> None:
    """Its replicas and routers know that it may sleep, and Serve is told what `alpharoute serve` tells it."""
    settings, deployments = _built(_sleeping())
    vanilla, draft = settings.pools
    assert (vanilla.autoscaling.idle_s, draft.autoscaling.idle_s, draft.autoscaling.up_delay_s) == (None, 900, 5)
    least = {"replicas": 2, "autoscaling": draft.autoscaling.model_copy(update={"max_replicas": 3, "down_delay_s": 60})}
    expected = serve_options(draft.model_copy(update=least))["autoscaling_config"]
    assert deployments["engine-draft"]["autoscaling_config"] == expected
    assert AutoscalingConfig.model_validate(expected).min_replicas == 0


def test_a_pool_that_sleeps_needs_no_pod_at_the_least() -> None:
    """Its group is there and may shrink to nothing; without Ray's autoscaler nobody would bring its pods back."""
    for document in objects(_sleeping()):
        check(document)
    group = groups(_sleeping())["spare"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (0, 0, 6)
    fixed = groups(merged(_sleeping(), {"autoscaling": {"enabled": False}}))["spare"]
    assert (fixed["minReplicas"], fixed["replicas"], fixed["maxReplicas"]) == (0, 3, 3)


@pytest.mark.usefixtures("pod_environment")
def test_values_in_the_guide_are_valid() -> None:
    """Every block of values there renders over those for two kinds of GPUs, and the product takes what comes out."""
    blocks = re.findall(r"^```yml\n(.*?)^```", (ROOT / "docs" / "kubernetes.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        _built(merged(values_of("multi-gpu"), yaml.safe_load(block)))


def test_how_idle_is_idle_may_be_said() -> None:
    """The same number for those who count (Serve's policy) and those who call back (the routers); 0 is one too."""
    for given, said in ({}, 0.1), ({"idleRequests": 0}, 0), ({"idleRequests": 2.5}, 2.5):
        found = application(_sleeping(**given))
        draft = next(d for d in found["deployments"] if d["name"] == "engine-draft")
        assert draft["autoscaling_config"]["policy"]["policy_kwargs"]["idle_requests"] == said
        assert found["args"]["pools"][1]["autoscaling"]["idle_requests"] == said


def test_the_chart_names_every_method_of_the_product() -> None:
    """A method that the schema does not know could not be deployed."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["pools"]["items"]["properties"]["method"]["enum"]) == set(METHODS)


def test_new_replicas_start_before_old_ones_end() -> None:
    """Where there is room for them: with the autoscaler on, and unless told otherwise."""
    assert {d["max_surge_percent"] for d in application({})["deployments"]} == {100}
    kept = application({"upgrade": {"surge": False}})["deployments"]
    assert [d["max_surge_percent"] for d in kept] == [100, 0, 0], "routers always have room"
    fixed = application({"autoscaling": {"enabled": False}})["deployments"]
    assert [d["max_surge_percent"] for d in fixed] == [100, 0, 0]


@pytest.mark.parametrize("name", ALL)
def test_every_ray_container_takes_the_fastest_path(name: str) -> None:
    """HAProxy and the throughput setting count where Ray starts, so on every pod."""
    for template in ray_pods(values_of(name)).values():
        variables = environment(template)
        assert variables["RAY_SERVE_ENABLE_HA_PROXY"]["value"] == "1"
        assert variables["RAY_SERVE_THROUGHPUT_OPTIMIZED"]["value"] == "1"
        assert variables["ALPHAROUTE_REDIS__URL"]["value"].startswith("redis")


def test_the_control_plane_wants_a_token() -> None:
    """Ray's dashboard runs code for whoever may call it."""
    assert any(
        o["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}
        for o in objects({})
        if o["kind"] == "RayService"
    )


def test_engines_by_url_run_beside_the_routers() -> None:
    """There is no engine pod at all then."""
    values = values_of("external-engines")
    assert set(groups(values)) == {"router"}
    pools = application(values)["args"]["pools"]
    assert [pool["api_key_env"] for pool in pools] == ["ENGINE_KEY_VANILLA", "ENGINE_KEY_NGRAM"]
    router = environment(groups(values)["router"]["template"])
    assert router["ENGINE_KEY_NGRAM"]["valueFrom"]["secretKeyRef"] == {"name": "vllm-keys", "key": "ngram"}
    assert "ENGINE_KEY_NGRAM" not in environment(ray_pods(values)["head"])


def test_weights_are_mounted_where_they_are_used() -> None:
    """A claim is mounted, a bucket is copied first; only into the group whose pools name it."""
    production = groups(values_of("production"))["h100"]["template"]["spec"]
    (init,) = production["initContainers"]
    assert init["command"] == ["aws", "s3", "sync", "--no-progress", "s3://models/llama-8b", "/weights"]
    assert init["envFrom"] == [{"secretRef": {"name": "s3-login"}}]
    assert {"name": "model-weights", "mountPath": "/models/weights", "readOnly": True} in production["containers"][0][
        "volumeMounts"
    ]
    multi = pod_templates(values_of("multi-gpu"))
    assert "initContainers" not in multi["h100"]["spec"]
    claims = [v.get("persistentVolumeClaim") for v in multi["l40s"]["spec"]["volumes"]]
    assert {"claimName": "model-weights", "readOnly": True} in claims
    assert not any(v["name"].startswith("model-") for v in multi["router"]["spec"]["volumes"])


def test_weights_from_an_image() -> None:
    """They are copied from the image into the pod."""
    values = {
        "models": {"baked": {"image": {"reference": "weights:1", "path": "/srv/models", "sizeLimit": "9Gi"}}},
        "pools": [{"name": "v", "model": "m", "target": "/models/baked/m", "accelerator": "cpu"}],
    }
    (init,) = groups(values)["cpu"]["template"]["spec"]["initContainers"]
    assert (init["image"], init["command"]) == ("weights:1", ["cp", "-r", "/srv/models/.", "/weights"])


def test_the_hub_token_reaches_engines_alone() -> None:
    """By reference, and not in the head or the routers."""
    pods = ray_pods(values_of("single-gpu"))
    token = environment(pods["gpu"])["HF_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert token == {"name": "hugging-face", "key": "token"}
    assert "HF_TOKEN" not in environment(pods["router"])
    assert "HF_TOKEN" not in environment(pods["head"])


@pytest.mark.parametrize("name", ALL)
def test_pods_outlive_their_drain(name: str) -> None:
    """The grace of a pod is longer than what its hook waits, and that longer than its replicas' drain."""
    values = values_of(name)
    drains = {pool["name"]: pool.get("drain_s", 60) for pool in application(values)["args"]["pools"]}
    for group, template in ray_pods(values).items():
        if group == "head":
            continue
        script = container(template)["lifecycle"]["preStop"]["exec"]["command"][2]
        (waits,) = {int(n) for n in re.findall(r"(?:seconds|seq) (\d+)", script)}
        longest = application(values)["args"]["router"]["drain_s"] if group == "router" else max(drains.values())
        assert longest < waits < template["spec"]["terminationGracePeriodSeconds"]


def test_the_redis_of_each_mode_is_named_to_ray_and_routers() -> None:
    """Built in, external with TLS and Sentinel: address, login and authority for both clients."""
    production = values_of("production")
    variables = environment(ray_pods(production)["router"])
    assert variables["ALPHAROUTE_REDIS__URL"]["value"].startswith("rediss+sentinel://sentinel-0.redis.data.svc:26379,")
    assert variables["ALPHAROUTE_REDIS__URL"]["value"].endswith("/alpharoute/0")
    assert variables["ALPHAROUTE_REDIS__CA_FILE"]["value"] == variables["RAY_REDIS_CA_CERT"]["value"]
    assert variables["ALPHAROUTE_REDIS__USERNAME"]["value"] == "alpharoute"
    cluster = next(o for o in objects(production) if o["kind"] == "RayService")["spec"]["rayClusterConfig"]
    assert cluster["gcsFaultToleranceOptions"]["redisAddress"] == "rediss://sentinel-0.redis.data.svc:26379"
    assert cluster["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] == "redis-login"
    off = merged(production, {"gcsFaultTolerance": {"enabled": False}})
    cluster = next(o for o in objects(off) if o["kind"] == "RayService")["spec"]["rayClusterConfig"]
    assert "gcsFaultToleranceOptions" not in cluster


def test_the_console_is_a_client_beside_the_api() -> None:
    """It is told the same settings, has the route of its own, and can be left out."""
    api, console = serve_config({})["applications"]
    assert (console["route_prefix"], console["args"]) == ("/console", api["args"])
    assert len(serve_config({"settings": {"console": {"enabled": False}}})["applications"]) == 1
    assert len(serve_config({"admin": {"port": 8001}})["applications"]) == 1
    quiet = {"admin": {"port": 8001}, "settings": {"console": {"enabled": False}}}
    assert len(serve_config(quiet)["applications"]) == 1


def test_haproxy_waits_for_clients_a_little_longer_than_routers_do() -> None:
    """As `alpharoute serve` has it; Ray's default of an hour would let a client hold a connection for so long."""
    wanted: list[dict[str, float]] = [{}, {"body_s": 300}, {"silence_s": 60.5, "body_s": 10}]
    for limits in wanted:
        values: Values = {"settings": {"limits": limits}} if limits else {}
        for pod in ray_pods(values).values():
            said = environment(pod)["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"]["value"]
            assert said == str(client_timeout_s(Limits.model_validate(limits)))


def test_streams_outlive_a_reload_of_haproxy() -> None:
    """Displaced workers may finish for as long as a request may take; Ray's default of two minutes would cut them."""
    for limit_s, said in ((None, "3601"), (600, "601")):
        values: Values = {} if limit_s is None else {"settings": {"limits": {"request_s": limit_s}}}
        for pod in ray_pods(values).values():
            assert environment(pod)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]["value"] == said
