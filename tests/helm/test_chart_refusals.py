"""Wrong values are refused before anything is installed, with what is wrong and what is allowed."""

import json
import re
from copy import deepcopy
from typing import Any

import pytest
import yaml
from chart import CHART, Values, merged, objects, one, texts, values_of
from helm_python import HelmError
from manifests import check

VANILLA = {"name": "v", "model": "m", "target": "t", "accelerator": "cpu"}
DRAFTED = {**VANILLA, "name": "d", "drafter": "x", "method": "draft_model", "k_max": 4}
BY_URL = {"name": "u", "model": "m", "engine": "url", "urls": ["http://vllm-0:8000", "http://vllm-1:8000"]}
SCRAPED = {"metrics": {"routers": {"enabled": True}}}


def _pools(*pools: dict[str, Any]) -> dict[str, Any]:
    return {"pools": list(pools)}


def _external(**fields: Any) -> dict[str, Any]:
    return {"redis": {"mode": "external", "external": {"host": "redis", **fields}}}


def _scaled(times: int = 1, **fields: Any) -> dict[str, Any]:
    scaling = {
        "name": "s",
        "pool": "u",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
        "replicas": {"min": 1, "max": 2},
        "inFlightPerReplica": 8,
        "prometheusUrl": "http://prometheus",
        **fields,
    }
    return {"pools": [VANILLA, BY_URL], "engineScaling": [scaling] * times, **SCRAPED}


BY_SCHEMA: list[tuple[Values, str]] = [
    ({"replicas": 3}, "'replicas' not allowed"),
    ({"router": {"replica": {"min": 1}}}, "/router'.*'replica' not allowed"),
    ({"router": {"replicas": {"min": 0}}}, "/router/replicas/min': minimum: got 0, want 1"),
    ({"router": {"replicas": {"min": "two"}}}, "/router/replicas/min': got string, want integer"),
    ({"router": {"drainSeconds": -1}}, "/router/drainSeconds': minimum"),
    ({"router": {"cpus": 0}}, "/router/cpus'"),
    ({"router": {"resources": {"limits": {"memory": "2 GB"}}}}, "/router/resources/limits/memory'"),
    ({"router": {"topologySpread": "yes"}}, "/router/topologySpread': got string, want boolean"),
    (_pools(), "/pools': minItems: got 0, want 1"),
    (_pools({"model": "m", "accelerator": "cpu"}), "/pools/0': missing property 'name'"),
    (_pools({"name": "v", "accelerator": "cpu"}), "/pools/0': missing property 'model'"),
    (_pools({**VANILLA, "acelerator": "cpu"}), "/pools/0'.*'acelerator' not allowed"),
    (_pools({**VANILLA, "name": "V_1"}), "/pools/0/name'.*does not match pattern"),
    (_pools({**VANILLA, "engine": "tgi"}), "/pools/0/engine': value must be one of 'vllm', 'simulator', 'url'"),
    (_pools({**DRAFTED, "method": "speculate"}), "/pools/0/method': value must be one of 'ngram'"),
    (_pools({**DRAFTED, "k_max": 64}), "/pools/0/k_max': maximum: got 64, want 32"),
    (_pools({**DRAFTED, "kMax": 4}), "/pools/0'.*'kMax' not allowed"),
    (_pools({**BY_URL, "urls": ["vllm:8000"]}), "/pools/0/urls/0'.*does not match pattern"),
    (_pools({**BY_URL, "urls": ["http://a", "http://a"]}), "/pools/0/urls'.*equal"),
    (_pools({**BY_URL, "apiKeySecret": {"name": "x"}}), "/pools/0/apiKeySecret': missing property 'key'"),
    (_pools({**VANILLA, "replicas": 3}), "/pools/0/replicas': got number, want object"),
    (_pools({**VANILLA, "replicas": {"idleSeconds": 0}}), "/pools/0/replicas/idleSeconds': exclusiveMinimum"),
    ({"accelerators": {"GPU": {"resources": {}}}}, "'GPU' does not match pattern"),
    ({"accelerators": {"gpu": {"resources": {}, "gpus": 1}}}, "/accelerators/gpu'.*'gpus' not allowed"),
    ({"models": {"w": {"nfs": {"server": "x"}}}}, "/models/w'.*'nfs' not allowed"),
    ({"models": {"w": {"s3": {"uri": "http://x"}}}}, "/models/w/s3/uri'"),
    ({"models": {"w": {"pvc": {}}}}, "/models/w/pvc': missing property 'claimName'"),
    ({"redis": {"mode": "cluster"}}, "/redis/mode': value must be one of 'builtin', 'external'"),
    (_external(port=70000), "/redis/external/port': maximum: got 70,000, want 65,535"),
    (_external(password="secret"), "/redis/external'.*'password' not allowed"),
    ({"redis": {"builtin": {"maxMemory": "512Mi"}}}, "/redis/builtin/maxMemory'"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy': value must be one of"),
    ({"image": {"digest": "sha256:abc"}}, "/image/digest'"),
    ({"upgrade": {"strategy": "Rolling"}}, "/upgrade/strategy': value must be one of 'NewCluster', 'None'"),
    ({"service": {"type": "ExternalName"}}, "/service/type': value must be one of"),
    ({"ingress": {"enabled": True, "paths": ["v1"]}}, "/ingress/paths/0'"),
    ({"tracing": {"share": 2}}, "/tracing/share': maximum: got 2, want 1"),
    ({"tracing": {"endpoint": "otel:4318"}}, "/tracing/endpoint'"),
    ({"auth": {"keys": ["sk-1"]}}, "/auth'.*'keys' not allowed"),
    ({"auth": {"metricsFor": "nobody"}}, "/auth/metricsFor': value must be one of"),
    ({"metrics": {"podMonitor": {"interval": "often"}}}, "/metrics/podMonitor/interval'"),
    ({"rayVersion": "latest"}, "/rayVersion'"),
    ({"commonLabels": {"a": 1}}, "/commonLabels/a': got number, want string"),
]

BY_GUARD: list[tuple[Values, str]] = [
    (_pools(VANILLA, VANILLA), r'pools\[1\] \("v"\): the name is given twice'),
    (
        _pools({**VANILLA, "replicas": {"idleSeconds": 60}}, {**DRAFTED, "replicas": {"idleSeconds": 60}}),
        r'pools\[0\] \("v"\): replicas.idleSeconds is set for every pool of model "m": one must stay awake',
    ),
    (_pools({**VANILLA, "replicas": {"idleRequests": 1}}), "idleRequests 1 without replicas.idleSeconds"),
    (_pools({**VANILLA, "settings": {"autoscaling": {"idle_s": 9}}}), "settings.autoscaling: .* use replicas: min,"),
    (_pools({**DRAFTED, "k_max": 0}), 'method "draft_model" without k_max'),
    (_pools({**VANILLA, "k_max": 4}), "k_max 4 without method"),
    (_pools({**VANILLA, "drafter": "x"}), 'drafter "x" without a method'),
    (_pools({**DRAFTED, "method": "ngram"}), 'method "ngram" takes no drafter, got "x"'),
    (_pools({**VANILLA, "method": "eagle3", "k_max": 4}), 'method "eagle3" needs a drafter'),
    (_pools({"name": "u", "model": "m", "engine": "url"}), "engine url needs urls"),
    (_pools({**VANILLA, "urls": ["http://x"]}), 'urls go with engine url alone \\(it is "vllm"\\)'),
    (_pools({**VANILLA, "apiKeySecret": {"name": "a", "key": "b"}}), "apiKeySecret goes with engine url alone"),
    (_pools({**BY_URL, "accelerator": "cpu"}), 'has no accelerator \\(got "cpu"\\)'),
    (_pools({**BY_URL, "replicas": {"min": 2}}), "engineScaling scales it"),
    (_pools({"name": "v", "model": "m"}), "accelerator is missing; there are cpu"),
    (_pools({**VANILLA, "accelerator": "h100"}), 'accelerator "h100" is not among accelerators: cpu'),
    (_pools({**VANILLA, "replicas": {"min": 3, "max": 2}}), "replicas.min 3 is above replicas.max 2"),
    (
        _pools({**VANILLA, "settings": {"vllm": {"args": ["--per-request-spec-decode-metrics", "detailed"]}}}),
        'holds "--per-request-spec-decode-metrics", which vLLM refuses in a pool without speculation',
    ),
    (_pools({**VANILLA, "settings": {"replicas": 2}}), "settings.replicas belongs beside settings"),
    (_pools({**VANILLA, "target": "/models/w/x"}), 'names the source "w", which is not among models'),
    (_pools({**VANILLA, "gpus": 1}), 'gpus 1, but a pod of accelerator "cpu" has 0'),
    (_pools({**VANILLA, "cpus": 16}), 'cpus 16, but a pod of accelerator "cpu" has 2'),
    ({"models": {"w": {"pvc": {"claimName": "c"}, "s3": {"uri": "s3://b"}}}}, "models.w: one of pvc, s3, image"),
    ({"settings": {"pools": []}}, "settings.pools: the chart sets it itself, use pools"),
    ({"settings": {"redis": {"url": "redis://x"}}}, "settings.redis: the chart sets it itself"),
    ({"settings": {"admin": {"port": 9000}}}, "settings.admin: the chart sets it itself, use admin.port"),
    ({"admin": {"port": 8000}}, "admin.port 8000 is the port of the API: choose another"),
    ({"admin": {"port": 8080}}, "admin.port 8080 is the port of Ray's metrics"),
    ({"admin": {"port": 80}}, "admin.port 80: pods run without root"),
    (_external(host="r:6380"), 'redis.external.host: "r:6380" is no host: .* the port is redis.external.port'),
    (_external(host="redis://r"), 'redis.external.host: "redis://r" is no host'),
    (
        {"redis": {"mode": "external", "external": {"sentinel": {"master": "m", "nodes": ["s:99999"]}}}},
        r'redis.external.sentinel.nodes\[0\]: "s:99999" has the port "99999"; ports are 1 to 65535',
    ),
    (
        {"accelerators": {"cpu": {"replicas": {"min": 3, "max": 2}}}},
        "accelerators.cpu.replicas: min 3 is above max 2",
    ),
    (_scaled(replicas={"min": 3, "max": 2}), r'engineScaling\[0\] \("s"\): replicas.min 3 is above replicas.max 2'),
    (_scaled(kind="hpa", replicas={"min": 0, "max": 2}), "replicas.min 0: a HorizontalPodAutoscaler keeps one"),
    (
        _scaled(replicas={"min": 1, "max": 3}),
        r'\("s"\): replicas.max is 3, but pool "u" lists 2 urls: list one for each',
    ),
    ({**_scaled(), "metrics": {}}, "engineScaling: the routers' metrics are not scraped: set metrics.routers.enabled"),
    ({"metrics": {"prometheusRule": {"enabled": True}}}, "prometheusRule.enabled: .* or metrics.job to the job label"),
    (_scaled(2), r'engineScaling\[1\] \("s"\): the name is given twice'),
    (_scaled(prometheusUrl="http://p:0/"), r'engineScaling\[0\].prometheusUrl: "http://p:0/" has the port "0"'),
    ({"redis": {"builtin": {"maxMemory": "4gb"}}}, "maxMemory 4gb in a pod of 768Mi .*no more than three quarters"),
    (_pools({**BY_URL, "urls": ["http://a:1", "http://b:99999/"]}), r'pools\[0\].urls\[1\]: "http://b:99999/" has'),
    ({"tracing": {"endpoint": "http://otel:/v1"}}, 'tracing.endpoint: "http://otel:/v1" has the port ""'),
    (
        {"models": {"w": {"s3": {"uri": "s3://b", "endpoint": "http://[::1]:70000"}}}},
        r'models.w.s3.endpoint: "http://\[::1\]:70000" has the port "70000"',
    ),
    (
        {"podLabels": {"app.kubernetes.io/component": "mine"}},
        'podLabels: "app.kubernetes.io/component" is set by the chart or by KubeRay',
    ),
    ({"podLabels": {"ray.io/node-type": "head"}}, 'podLabels: "ray.io/node-type" is set by the chart'),
    ({"commonLabels": {"app.kubernetes.io/instance": "x"}}, 'commonLabels: "app.kubernetes.io/instance" is set'),
    ({"settings": {"router": {"replicas": 3}}}, "settings.router.replicas.*use router.replicas"),
    ({"settings": {"router": {"engine_host": "0.0.0.0"}}}, "settings.router.engine_host"),
    ({"router": {"replicas": {"min": 5, "max": 2}}}, "router.replicas: min 5 is above max 2"),
    ({"router": {"targetOngoingRequests": 9999}}, "targetOngoingRequests 9999 is above"),
    (
        {"router": {"cpus": 1.5}, "autoscaling": {"enabled": False}},
        "router.cpus 1.5: without autoscaling a router pod must hold two replicas",
    ),
    ({"router": {"cpus": 3}}, "router.cpus 3, but a router pod has 2"),
    ({"redis": {"mode": "external"}}, "redis.external.host is missing"),
    ({"redis": {"external": {"host": "redis"}}}, "redis.mode is builtin, but redis.external names a server"),
    (_external(sentinel={"master": "m", "nodes": ["s:26379"]}), "exclude each other"),
    ({"redis": {"mode": "external", "external": {"sentinel": {"nodes": ["s:1"]}}}}, "master and nodes go together"),
    (_external(username="me"), 'username "me" without redis.existingSecret'),
    (_external(tls={"caSecret": "ca"}), "caSecret is set, but tls.enabled is false"),
    (
        {"policy": {"document": {"policy": "adaptive"}, "existingConfigMap": "mine"}},
        "document and existingConfigMap exclude each other",
    ),
    ({"httpRoute": {"enabled": True}}, "parentRefs names no gateway"),
    ({"auth": {"allowAnonymous": True, "existingSecret": "keys"}}, "choose one"),
    ({"auth": {"redisKeys": False}}, "nobody could come in"),
    (
        {"auth": {"metricsFor": "operator"}, "metrics": {"routers": {"enabled": True}}},
        "metrics.routers.authorization must name a Secret",
    ),
    (
        {"admin": {"port": 9000}, "settings": {"console": {"enabled": True}}},
        "no console in the cluster.*alpharoute console --url http://127.0.0.1:9000",
    ),
    ({"admin": {"port": 9000}, "settings": {"console": {"port": 9001}}}, "set admin.port to 0"),
    ({"serviceAccount": {"create": False}}, "the Ray head needs an account with rights"),
    (
        {
            **SCRAPED,
            "engineScaling": [
                {
                    "name": "s",
                    "pool": "vanilla",
                    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
                    "replicas": {"min": 1, "max": 2},
                    "inFlightPerReplica": 8,
                }
            ],
        },
        '"vanilla" is not a pool with engine url',
    ),
]


def test_there_are_fifty() -> None:
    """By the schema and by the guards together, and more."""
    assert len(BY_SCHEMA) + len(BY_GUARD) >= 80


@pytest.mark.parametrize(("values", "message"), [*BY_SCHEMA, *BY_GUARD])
def test_wrong_values_are_refused(values: Values, message: str) -> None:
    """The message names the value's place; nothing is rendered."""
    with pytest.raises(HelmError) as refused:
        texts(values)
    said = re.sub(r"\s+", " ", str(refused.value))
    assert re.search(message, said), said


def test_every_level_refuses_unknown_names() -> None:
    """No object of the schema that lists its properties lets others through."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    open_ones = []

    def walk(place: str, part: Any) -> None:
        if isinstance(part, dict):
            if "properties" in part and part.get("additionalProperties") is not False:
                open_ones.append(place)
            for key, inner in part.items():
                walk(f"{place}/{key}", inner)
        elif isinstance(part, list):
            for i, inner in enumerate(part):
                walk(f"{place}/{i}", inner)

    walk("", schema)
    assert open_ones == []


def test_the_schema_knows_every_value() -> None:
    """values.yaml and the schema name the same keys, so that none is undocumented and none is dead."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, value in values.items():
        properties = schema["properties"][name].get("properties")
        if isinstance(value, dict) and properties and name not in {"podSecurityContext", "securityContext"}:
            assert set(properties) - {"runtimeClassName", "env"} == set(value), name


def test_the_checks_of_objects_do_check() -> None:
    """A misspelt field of a pod and of a RayService is refused, or all the validity tests would mean nothing."""
    service = deepcopy(one(merged({}, values_of("cpu-demo")), "RayService"))
    check(service)
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParam"] = {}
    with pytest.raises(Exception, match="rayStartParam"):
        check(service)
    redis = deepcopy(one({}, "StatefulSet"))
    redis["spec"]["template"]["spec"]["container"] = []
    with pytest.raises(Exception, match="container"):
        check(redis)


def test_what_is_nearly_refused_is_taken() -> None:
    """Bounds that are equal, IPv6, ports at the ends, labels of one's own, three quarters of the memory."""
    near: list[Values] = [
        _scaled(kind="hpa", replicas={"min": 1, "max": 1}, prometheusUrl="http://[::1]:65535"),
        _external(host="[2001:db8::1]"),
        {"redis": {"builtin": {"maxMemory": "576mb"}}},
        {"admin": {"port": 1024}},
        {"podLabels": {"team": "x"}, "tracing": {"endpoint": "http://10.0.0.1:4318/v1/traces"}},
    ]
    for values in near:
        for document in objects(values):
            check(document)
