"""Whether a cluster would take an object: Kubernetes' own schemas for its kinds, KubeRay's for a RayService."""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # published without types
import kubernetes_validate  # type: ignore[import-untyped]  # published without types

CRD = Path(__file__).parents[1] / "helm" / "crds" / "ray.io_rayservices_v1.json"

KUBERNETES = ("1.29", "1.30", "1.31", "1.32", "1.33")

OTHERS = {
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1alpha1", "ScrapeConfig"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("keda.sh/v1alpha1", "ScaledObject"),
}
"""Kinds whose schemas are not at hand: tests assert what matters of them by name."""


def check(document: dict[str, Any]) -> None:
    """Raise where any supported Kubernetes would refuse it; unknown fields count."""
    _check(json.dumps(document, sort_keys=True))


@functools.cache
def _check(text: str) -> None:
    document = json.loads(text)
    if document["apiVersion"] == "ray.io/v1":
        _ray_service().validate(document)
        for template in _templates(document):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
            _check(json.dumps(pod, sort_keys=True))
    elif (document["apiVersion"], document["kind"]) not in OTHERS:
        for version in KUBERNETES:
            kubernetes_validate.validate(document, version, strict=True)


def _templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    config = document["spec"]["rayClusterConfig"]
    return [part["template"] for part in (config["headGroupSpec"], *config["workerGroupSpecs"])]


@functools.cache
def _ray_service() -> Any:
    return jsonschema.Draft202012Validator(_closed(json.loads(CRD.read_text())))


def _closed(schema: Any) -> Any:
    """The schema with unknown fields refused and Kubernetes' integer-or-string understood."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {key: _closed(part) for key, part in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if closed.get("properties", {}).get("metadata") == {"type": "object"}:
        closed["properties"]["metadata"] = {}
    return closed
