"""What a platform team's policy checks look for, pod by pod."""

import re

import pytest
import yaml
from chart import (
    NAMESPACE,
    VALUES_FILES,
    Object,
    application,
    container,
    environment,
    kind,
    merged,
    objects,
    one,
    pod_templates,
    ray_pods,
    texts,
    values_of,
)

ALL = ("default", *VALUES_FILES)
PODS = [(name, pod) for name in ALL for pod in pod_templates(values_of(name))]


def _pod(name: str, pod: str) -> Object:
    spec: Object = pod_templates(values_of(name))[pod]["spec"]
    return spec


def _containers(spec: Object) -> list[Object]:
    return [*spec["containers"], *spec.get("initContainers", [])]


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_pods_run_without_root(name: str, pod: str) -> None:
    """As a user of their own, under the runtime's default seccomp profile."""
    context = _pod(name, pod)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_containers_may_do_nothing_special(name: str, pod: str) -> None:
    """No escalation, no capability, no writing to the image; the folders they write to are volumes."""
    for each in _containers(_pod(name, pod)):
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in context


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_containers_have_bounds_and_a_pinned_image(name: str, pod: str) -> None:
    """Requests and a memory limit; an image with a tag that is not latest, or a digest."""
    for each in _containers(_pod(name, pod)):
        assert set(each["resources"]["requests"]) >= {"cpu", "memory"}
        assert "memory" in each["resources"]["limits"]
        assert re.search(r"(:(?!latest$)[\w][\w.-]*|@sha256:[0-9a-f]{64})$", each["image"]), each["image"]
        assert each["imagePullPolicy"] in {"IfNotPresent", "Always"}


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_no_pod_is_told_more_than_it_needs(name: str, pod: str) -> None:
    """No service links, no host namespaces or paths; a token only where the autoscaler runs."""
    spec = _pod(name, pod)
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not any("hostPath" in volume for volume in spec.get("volumes", []))
    autoscaled = merged({"autoscaling": {"enabled": True}}, values_of(name))["autoscaling"]["enabled"]
    assert spec["automountServiceAccountToken"] is (pod == "head" and autoscaled)


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_mounts_and_volumes_fit(name: str, pod: str) -> None:
    """Each mount has its volume, each volume a mount, no path is mounted twice."""
    spec = _pod(name, pod)
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    mounted = [mount for each in _containers(spec) for mount in each.get("volumeMounts", [])]
    claimed = {"data"} if pod.endswith("-redis") else set()  # a volume of the StatefulSet's own making
    assert {mount["name"] for mount in mounted} == volumes | claimed
    for each in _containers(spec):
        paths = [mount["mountPath"] for mount in each.get("volumeMounts", [])]
        assert len(paths) == len(set(paths))


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_probes_ask_ports_that_are_open(name: str, pod: str) -> None:
    """By name, of the same container; pods that serve have all three probes."""
    if pod.startswith("pod "):
        return
    each = container(pod_templates(values_of(name))[pod])
    ports = {port["name"] for port in each["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = each[probe].get("httpGet")
        assert asked is None or asked["port"] in ports
    assert len(ports) == len(each["ports"]) == len({port["containerPort"] for port in each["ports"]})


@pytest.mark.parametrize("name", ALL)
def test_secrets_are_never_inline(name: str) -> None:
    """Nothing that sounds secret has a literal value, and nothing but a Secret holds the generated password."""
    rendered = objects(values_of(name))
    for template in pod_templates(values_of(name)).values():
        for each in _containers(template["spec"]):
            for variable in each.get("env", []):
                if re.search(r"PASSWORD|TOKEN|SECRET|API_KEY|ENGINE_KEY|LOGIN", variable["name"]):
                    assert "value" not in variable, variable["name"]
    passwords = [value for o in rendered if o["kind"] == "Secret" for value in o["data"].values()]
    whole = "".join(text for text in texts(values_of(name)).values())
    assert all(whole.count(password) == 1 for password in passwords)
    assert "api_key:" not in yaml.safe_dump(application(values_of(name))["args"])


def test_the_generated_password_outlives_an_uninstall() -> None:
    """Its data do too, and a new one would not open them; each release has its own of 32 characters."""
    secret = one({}, "Secret")
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert len(secret["data"]["redis-password"]) == 44, "32 characters in base64"


def test_a_secret_of_yours_is_taken() -> None:
    """None is generated then, and all parts read yours."""
    values = {"redis": {"existingSecret": "mine", "passwordKey": "pw"}}
    assert kind(values, "Secret") == []
    for template in ray_pods(values).values():
        wanted = environment(template)["ALPHAROUTE_REDIS__PASSWORD"]["valueFrom"]["secretKeyRef"]
        assert wanted == {"name": "mine", "key": "pw"}
    redis = one(values, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
    assert {"secretName": "mine", "defaultMode": 288, "items": [{"key": "pw", "path": "password"}]} in [
        volume.get("secret") for volume in redis
    ]


def test_the_api_wants_keys_unless_told_otherwise() -> None:
    """By default kept in Redis; from a secret as a folder, so that a rotation reaches the file; or for everybody."""
    assert application({})["args"]["auth"] == {"redis_keys": True, "metrics_for": "anyone"}
    values = {"auth": {"existingSecret": "keys", "key": "k.yaml", "redisKeys": False}}
    assert application(values)["args"]["auth"] == {
        "redis_keys": False,
        "keys_file": "/etc/alpharoute/keys/k.yaml",
        "metrics_for": "anyone",
    }
    router = ray_pods(values)["router"]["spec"]
    mount = next(m for m in router["containers"][0]["volumeMounts"] if m["name"] == "keys")
    assert mount == {"name": "keys", "mountPath": "/etc/alpharoute/keys", "readOnly": True}, "a subPath never changes"
    anyone = {"auth": {"allowAnonymous": True}}
    assert application(anyone)["args"]["auth"] == {"allow_anonymous": True, "metrics_for": "anyone"}


def test_the_autoscaler_may_only_do_its_work() -> None:
    """In the namespace, on pods and Ray clusters; without the autoscaler there is no role."""
    role = one({}, "Role")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch", "patch"}
    assert {r for rule in role["rules"] for r in rule["resources"]} == {"pods", "pods/resize", "rayclusters"}
    binding = one({}, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = one({}, "ServiceAccount")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": NAMESPACE}
    ]
    assert account["automountServiceAccountToken"] is False
    assert kind({"autoscaling": {"enabled": False}}, "Role") == []
    assert not [o for name in ALL for o in objects(values_of(name)) if o["kind"].startswith("Cluster")]


def test_only_v1_is_public() -> None:
    """An Ingress and a route open the API; the console and /admin stay inside unless named."""
    ingress = one(values_of("production"), "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v1"]
    assert ingress["spec"]["tls"] == [{"secretName": "llm-example-com", "hosts": ["llm.example.com"]}]
    route = one({"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}, "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    assert [match["path"]["value"] for match in rule["matches"]] == ["/v1"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}, "answers stream"


def test_public_doors_lead_to_the_service() -> None:
    """By the name and port that the RayService gives it."""
    values = {"ingress": {"enabled": True}, "service": {"name": "front", "port": 80}}
    service = one(values, "RayService")["spec"]["serveService"]
    backend = one(values, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert (backend["name"], backend["port"]["number"]) == (service["metadata"]["name"], 80) == ("front", 80)
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, 8000)
