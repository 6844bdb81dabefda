"""The chart renders for every values file and what may be laid over it, and clusters take what comes out."""

import itertools

import pytest
from chart import CHART, VALUES_FILES, Values, merged, objects, values_of
from helm_python import lint
from manifests import check

OVERLAYS: dict[str, Values] = {
    "nothing": {},
    "external redis with tls": {
        "redis": {
            "mode": "external",
            "existingSecret": "login",
            "external": {
                "host": "redis.example.com",
                "port": 6380,
                "tls": {"enabled": True, "caSecret": "ca"},
                "sentinel": {"master": "", "nodes": []},
            },
        }
    },
    "everything watched": {
        "metrics": {
            "routers": {"enabled": True, "labels": {"release": "prometheus"}},
            "podMonitor": {"enabled": True},
            "serviceMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True, "runbookUrl": "https://example.com/runbooks"},
            "dashboards": {"enabled": True},
        },
        "tracing": {"endpoint": "https://otel.example.com/v1/traces", "share": 1},
    },
    "open to the world": {
        "ingress": {"enabled": True, "host": "llm.example.com", "tls": {"secretName": "tls"}},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["api.example.com"]},
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}},
    },
    "bare": {
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "autoscaling": {"enabled": False},
        "gcsFaultTolerance": {"enabled": False},
        "serviceAccount": {"create": False},
        "test": {"enabled": False},
    },
    "names and labels": {
        "fullnameOverride": "front-door",
        "commonLabels": {"team": "serving"},
        "commonAnnotations": {"owner": "serving@example.com"},
        "podLabels": {"team": "serving"},
        "podAnnotations": {"note": "x"},
        "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
    },
    "extras": {
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraEnvFrom": [{"configMapRef": {"name": "env"}}],
        "extraVolumes": [{"name": "x", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
        "sidecars": [{"name": "side", "image": "side:1"}],
        "initContainers": [{"name": "first", "image": "first:1"}],
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-x"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Namespace }}-y'}",
        ],
    },
    "a policy": {
        "policy": {"document": {"tasks": {"legal_analysis": {"mode": "vanilla"}}}},
        "settings": {"limits": {"body_bytes": 1048576}, "logs": {"requests": True}},
    },
    "keys and an account of its own": {
        "auth": {"existingSecret": "keys", "metricsFor": "operator", "allowAnonymous": False},
        "metrics": {"routers": {"enabled": True, "authorization": {"name": "metrics", "key": "key"}}},
        "serviceAccount": {"create": False, "name": "mine"},
        "rbac": {"create": False},
    },
}

COMBINATIONS = list(itertools.product(("default", *VALUES_FILES), OVERLAYS))


def test_there_are_enough_combinations() -> None:
    """Five files and the defaults, nine overlays."""
    assert len(VALUES_FILES) == 5
    assert len(COMBINATIONS) >= 46


@pytest.mark.parametrize("name", ["default", *VALUES_FILES])
def test_lint_finds_nothing(name: str) -> None:
    """`helm lint --strict`, but for the remark that a chart may have an icon."""
    report = lint(CHART, values_of(name), strict=True, kube_version="v1.29.0")
    assert report["errors"] == []
    assert [m["error"] for m in report["messages"] if m["error"] != "icon is recommended"] == []


@pytest.mark.parametrize(("file", "overlay"), COMBINATIONS)
def test_clusters_take_what_is_rendered(file: str, overlay: str) -> None:
    """Every object is valid for Kubernetes 1.29 to 1.33 or KubeRay, unknown fields refused."""
    rendered = objects(merged(values_of(file), OVERLAYS[overlay]))
    for document in rendered:
        check(document)
    named = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in rendered]
    assert len(named) == len(set(named)), "two objects have one name"
    assert "RayService" in {o["kind"] for o in rendered}
