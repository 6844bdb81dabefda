"""Selectors select, and the network policies let through what is needed and nothing else."""

import ipaddress
from collections.abc import Iterator

import pytest
from chart import (
    NAMESPACE,
    VALUES_FILES,
    Object,
    application,
    container,
    groups,
    kind,
    merged,
    objects,
    one,
    pod_templates,
    values_of,
)
from manifests import check

ALL = ("default", *VALUES_FILES)


def _matches(selector: Object, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return wanted.items() <= labels.items() and all(labels.get(e["key"]) in e["values"] for e in expressions)


def _selected(values: Object, selector: Object) -> set[str]:
    return {
        name for name, pod in pod_templates(values).items() if _matches(selector, pod["metadata"].get("labels", {}))
    }


def _selectors(values: Object) -> Iterator[tuple[str, Object]]:
    for o in objects(values):
        name, spec = f"{o['kind']} {o['metadata']['name']}", o.get("spec", {})
        if o["kind"] == "Service":
            yield name, {"matchLabels": spec["selector"]}
        elif o["kind"] in {"StatefulSet", "PodDisruptionBudget", "PodMonitor"}:
            yield name, spec["selector"]
        elif o["kind"] == "NetworkPolicy":
            yield name, spec["podSelector"]


@pytest.mark.parametrize("name", ALL)
def test_every_selector_finds_pods(name: str) -> None:
    """Services, budgets, monitors and policies all mean pods that this chart makes."""
    values = merged(values_of(name), {"metrics": {"podMonitor": {"enabled": True}}})
    for what, selector in _selectors(values):
        # The policy for downloads is for engine pods; there are none where all engines are elsewhere.
        if name == "external-engines" and what.endswith("-weights"):
            continue
        assert _selected(values, selector), f"{what} selects nothing"


@pytest.mark.parametrize("name", ALL)
def test_every_pod_is_denied_first(name: str) -> None:
    """One policy without rules covers every pod of the release, in both directions."""
    values = values_of(name)
    deny = one(values, "NetworkPolicy", "-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in deny
    assert "egress" not in deny
    assert _selected(values, deny["podSelector"]) == set(pod_templates(values))


def _open_from(values: Object, pod: str, peer: Object) -> set[int]:
    """Ports of a pod that a peer, named as in the values, may connect to."""
    found: set[int] = set()
    for policy in kind(values, "NetworkPolicy"):
        if pod not in _selected(values, policy["spec"]["podSelector"]):
            continue
        for rule in policy["spec"].get("ingress", []):
            if peer in rule.get("from", []):
                for port in rule["ports"]:
                    found |= set(range(port["port"], port.get("endPort", port["port"]) + 1))
    return found


CLIENT: Object = {"podSelector": {"matchLabels": {"app": "client"}}}
PROMETHEUS: Object = {"namespaceSelector": {"matchLabels": {"name": "prometheus"}}}
OPERATOR: Object = {"namespaceSelector": {"matchLabels": {"name": "kuberay"}}}
PEERS: Object = {"networkPolicy": {"clients": [CLIENT], "monitoring": [PROMETHEUS], "operator": [OPERATOR]}}


@pytest.mark.parametrize("name", ALL)
def test_each_peer_reaches_its_ports_and_no_other(name: str) -> None:
    """Clients the API, Prometheus the metrics, the operator Ray's control; Redis none of them."""
    values = merged(values_of(name), PEERS)
    for pod in pod_templates(values):
        if "redis" in pod or pod.startswith("pod "):
            assert not any(_open_from(values, pod, peer) for peer in (CLIENT, PROMETHEUS, OPERATOR))
            continue
        assert _open_from(values, pod, CLIENT) == {8000}
        assert _open_from(values, pod, PROMETHEUS) == {8000, 8080}
        assert _open_from(values, pod, OPERATOR) == {8000, 8265, 52365}


@pytest.mark.parametrize("name", ALL)
def test_every_declared_port_is_reached_by_somebody(name: str) -> None:
    """A port that a container names is open to the peer it is for; 6379 of the head to its own workers alone."""
    values = merged(values_of(name), PEERS)
    for pod, template in pod_templates(values).items():
        if "redis" in pod or pod.startswith("pod "):
            continue
        reached = set().union(*(_open_from(values, pod, peer) for peer in (CLIENT, PROMETHEUS, OPERATOR)))
        declared = {port["containerPort"] for port in container(template)["ports"]}
        assert declared - reached <= {6379}


ADMIN: Object = {"podSelector": {"matchLabels": {"app": "console"}}}


@pytest.mark.parametrize("name", ALL)
def test_the_admin_port_is_its_peers_alone(name: str) -> None:
    """Its Service means router pods; whoever calls the API does not reach it, and without a port there is nothing."""
    fenced = merged(values_of(name), merged(PEERS, {"admin": {"port": 9000}, "networkPolicy": {"admin": [ADMIN]}}))
    service = one(fenced, "Service", "-admin")["spec"]
    assert _selected(fenced, {"matchLabels": service["selector"]}) == {"router"}
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(9000, 9000)]
    assert _open_from(fenced, "router", ADMIN) == {9000}
    assert 9000 not in _open_from(fenced, "router", CLIENT) | _open_from(fenced, "router", PROMETHEUS)
    assert application(fenced)["args"]["admin"] == {"port": 9000, "host": "0.0.0.0"}
    assert not kind(values_of(name), "Service", "-admin")
    assert "admin" not in application(values_of(name))["args"]


def test_ray_pods_reach_each_other_on_every_port() -> None:
    """Ray and the engines choose ports at start; the rule has none, and is for Ray pods only."""
    ray = one({}, "NetworkPolicy", "-ray")["spec"]
    inside = [rule for rule in ray["ingress"] if "ports" not in rule]
    assert len(inside) == 1
    (peer,) = inside[0]["from"]
    assert _selected({}, peer["podSelector"]) == {"head", "router", "cpu"}


def test_redis_is_reached_by_ray_pods_alone() -> None:
    """On its port."""
    policy = one({}, "NetworkPolicy", "-redis")["spec"]
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert _selected({}, peer["podSelector"]) == {"head", "router", "cpu"}
    assert [port["port"] for port in rule["ports"]] == [6379]
    ports = container(one({}, "StatefulSet")["spec"]["template"])["ports"]
    assert [port["containerPort"] for port in ports] == [6379]


def _ways_out(values: Object, pod: str) -> set[int]:
    found: set[int] = set()
    for policy in kind(values, "NetworkPolicy"):
        if pod in _selected(values, policy["spec"]["podSelector"]):
            for rule in policy["spec"].get("egress", []):
                found |= {int(port["port"]) for port in rule.get("ports", [])}
    return found


def test_each_part_gets_out_to_what_it_needs() -> None:
    """Names and Redis all; weights the engines, the Kubernetes API the autoscaler, engines by URL the routers."""
    assert _ways_out({}, "head") == {53, 6379, 443, 6443}
    assert _ways_out({}, "router") == {53, 6379}
    assert _ways_out({}, "cpu") == {53, 6379, 443}
    assert _ways_out({}, "demo-alpharoute-redis") == {53}
    external = values_of("external-engines")
    assert _ways_out(external, "router") == {53, 6379, 8000}
    production = values_of("production")
    assert _ways_out(production, "router") == {53, 6379, 26379, 4318}
    assert _ways_out({"autoscaling": {"enabled": False}}, "head") == {53, 6379}
    assert _ways_out({"networkPolicy": {"weights": []}}, "cpu") == {53, 6379}


def test_any_address_is_one_of_either_family() -> None:
    """Clusters may have both, or the newer one alone."""
    for values in ({}, {"redis": {"mode": "external", "external": {"host": "redis"}}}):
        for policy in kind(values, "NetworkPolicy"):
            for rule in policy["spec"].get("egress", []):
                blocks = {peer["ipBlock"]["cidr"] for peer in rule.get("to", []) if "ipBlock" in peer}
                assert ("0.0.0.0/0" in blocks) == ("::/0" in blocks), policy["metadata"]["name"]
    opened = one({}, "NetworkPolicy", "-autoscaler")["spec"]["egress"][0]["to"]
    assert opened == [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]


def test_names_are_resolved_where_the_values_say() -> None:
    """Pods and ports of the cluster's own DNS, over both protocols; by default those of most clusters."""
    (usual,) = one({}, "NetworkPolicy", "-dns")["spec"]["egress"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}} in usual["to"]
    assert usual["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}
    values = {"networkPolicy": {"dns": {"to": [peer], "ports": [5353]}}}
    (rule,) = one(values, "NetworkPolicy", "-dns")["spec"]["egress"]
    assert rule == {"to": [peer], "ports": [{"protocol": p, "port": 5353} for p in ("UDP", "TCP")]}
    for document in objects(values):
        check(document)


def test_the_example_names_api_servers_and_not_their_service() -> None:
    """Of a documentation range, so that it is replaced; a Service's address is another one by the time it is judged."""
    policy = one(values_of("production"), "NetworkPolicy", "-autoscaler")["spec"]
    (rule,) = policy["egress"]
    networks = [ipaddress.IPv4Network(peer["ipBlock"]["cidr"]) for peer in rule["to"]]
    assert len(networks) >= 3, "a control plane of production has several"
    assert all(network.subnet_of(ipaddress.IPv4Network("192.0.2.0/24")) for network in networks)


def test_budgets_keep_all_but_one() -> None:
    """A number for every group of two and more: a share needs an owner with a scale, which a RayCluster is not."""
    budgets = {o["metadata"]["name"]: o["spec"] for o in kind(values_of("production"), "PodDisruptionBudget")}
    assert {name: spec["minAvailable"] for name, spec in budgets.items()} == {
        "demo-alpharoute-router": 2,
        "demo-alpharoute-engine-h100": 5,
    }
    for spec in budgets.values():
        assert len(_selected(values_of("production"), spec["selector"])) == 1
    assert kind(values_of("cpu-demo"), "PodDisruptionBudget") == []
    assert kind({"router": {"replicas": {"min": 1}}}, "PodDisruptionBudget") == []


def test_routers_are_spread() -> None:
    """Over zones and nodes, counted among themselves."""
    for constraint in groups({})["router"]["template"]["spec"]["topologySpreadConstraints"]:
        assert _selected({}, constraint["labelSelector"]) == {"router"}


def test_the_routers_are_one_target() -> None:
    """Each answers for all: as several targets every series would be there several times."""
    values = {"metrics": {"routers": {"enabled": True, "labels": {"release": "p"}}}, "service": {"port": 80}}
    scraped = one(values, "ScrapeConfig")
    assert scraped["metadata"]["labels"]["release"] == "p"
    assert scraped["spec"]["staticConfigs"][0]["targets"] == ["demo-alpharoute.llm.svc:80"]
    assert scraped["spec"]["relabelings"] == [{"targetLabel": "job", "replacement": "llm/demo-alpharoute"}]


def test_rays_own_metrics_are_scraped_pod_by_pod() -> None:
    """By a port that the pods declare."""
    monitor = one({"metrics": {"podMonitor": {"enabled": True}}}, "PodMonitor")["spec"]
    assert _selected({}, monitor["selector"]) == {"router", "cpu"}
    (endpoint,) = monitor["podMetricsEndpoints"]
    for template in pod_templates({}).values():
        if _matches(monitor["selector"], template["metadata"].get("labels", {})):
            assert endpoint["port"] in {port["name"] for port in container(template)["ports"]}


def test_engines_outside_ray_are_scaled_by_their_requests() -> None:
    """KEDA asks Prometheus, an HPA a metrics adapter; both for the metric that routers export."""
    scaled = one(values_of("external-engines"), "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == "vllm-vanilla"
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"]["query"] == (
        'sum(alpharoute_in_flight_requests{job="llm/demo-alpharoute", pool="vanilla"})'
    )
    scaling = {**values_of("external-engines")["engineScaling"][0], "kind": "hpa"}
    hpa = one(merged(values_of("external-engines"), {"engineScaling": [scaling]}), "HorizontalPodAutoscaler")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 4)
    selector = hpa["metrics"][0]["external"]["metric"]["selector"]["matchLabels"]
    assert selector == {"job": "llm/demo-alpharoute", "pool": "vanilla"}


def test_alerts_and_scaling_follow_a_scrape_of_ones_own() -> None:
    """By the job label that it gives, in place of the one that the chart's ScrapeConfig would."""
    own = {"metrics": {"routers": {"enabled": False}, "job": "gateways", "prometheusRule": {"enabled": True}}}
    values = merged(values_of("external-engines"), own)
    (trigger,) = one(values, "ScaledObject")["spec"]["triggers"]
    assert 'job="gateways"' in trigger["metadata"]["query"]
    (group,) = one(values, "PrometheusRule")["spec"]["groups"]
    assert all('job="gateways"' in rule["expr"] for rule in group["rules"])


def test_objects_stay_in_the_release_and_its_namespace() -> None:
    """With the standard labels, and those of the values."""
    own = {"admin": {"port": 9000, "annotations": {"load-balancer": "internal"}}}
    values = {"commonLabels": {"team": "serving"}, "commonAnnotations": {"owner": "us"}, **own}
    for o in objects(values):
        assert o["metadata"]["namespace"] == NAMESPACE
        assert o["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert o["metadata"]["labels"]["team"] == "serving"
        assert o["metadata"]["annotations"]["owner"] == "us"
