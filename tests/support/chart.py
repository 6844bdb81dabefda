"""The Helm chart as the real Helm engine renders it; each set of values is rendered once."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "alpharoute"
RELEASE, NAMESPACE = "demo", "llm"

Object = dict[str, Any]
Values = Mapping[str, Any]

VALUES_FILES = tuple(sorted(path.stem.removeprefix("values-") for path in CHART.glob("values-*.yaml")))


@functools.cache
def values_of(name: str) -> Object:
    """The values of values-NAME.yaml; {} for "default". Do not change what comes back."""
    if name == "default":
        return {}
    loaded: Object = yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
    return loaded


def merged(base: Values, over: Values) -> Object:
    """`over` laid on `base` as Helm lays values files on one another."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        result[key] = merged(before, value) if both else value  # type: ignore[arg-type]  # checked the line before
    return result


@functools.cache
def _chart() -> Chart:
    return Chart.load(CHART)


@functools.cache
def _render(values: str) -> dict[str, str]:
    return _chart().render(values=json.loads(values), name=RELEASE, namespace=NAMESPACE)


def texts(values: Values) -> dict[str, str]:
    """Rendered files by their path in the chart; raises helm_python's HelmError for values that are refused."""
    return _render(json.dumps(values, sort_keys=True))


def objects(values: Values) -> list[Object]:
    """Every rendered object, in no particular order; they are shared, so do not change them."""
    return _objects(json.dumps(values, sort_keys=True))


@functools.cache
def _objects(values: str) -> list[Object]:
    return [
        document
        for path, text in _render(values).items()
        if path.endswith(".yaml")
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if document
    ]


def kind(values: Values, wanted: str, ending: str = "") -> list[Object]:
    """The objects of a kind, or those of them whose name ends so."""
    return [o for o in objects(values) if o["kind"] == wanted and o["metadata"]["name"].endswith(ending)]


def one(values: Values, wanted: str, ending: str = "") -> Object:
    """The only object of a kind (and ending of its name)."""
    found = kind(values, wanted, ending)
    assert len(found) == 1, [o["metadata"]["name"] for o in found]
    return found[0]


def cluster(values: Values) -> Object:
    """The Ray cluster's specification."""
    spec: Object = one(values, "RayService")["spec"]["rayClusterConfig"]
    return spec


def groups(values: Values) -> dict[str, Object]:
    """The worker groups by name."""
    return {group["groupName"]: group for group in cluster(values)["workerGroupSpecs"]}


def serve_config(values: Values) -> Object:
    """serveConfigV2, parsed."""
    return _parsed(one(values, "RayService")["spec"]["serveConfigV2"])


@functools.cache
def _parsed(text: str) -> Object:
    parsed: Object = yaml.safe_load(text)
    return parsed


def application(values: Values) -> Object:
    """The application that serves the API."""
    found: Object = next(app for app in serve_config(values)["applications"] if app["name"] == "alpharoute")
    return found


def pod_templates(values: Values) -> dict[str, Object]:
    """Every pod the chart describes, by component and group: labels are under `metadata`, the rest under `spec`."""
    found = {"head": cluster(values)["headGroupSpec"]["template"]}
    found |= {name: group["template"] for name, group in groups(values).items()}
    found |= {o["metadata"]["name"]: o["spec"]["template"] for o in kind(values, "StatefulSet")}
    found |= {f"pod {o['metadata']['name']}": o for o in kind(values, "Pod")}
    return found


def ray_pods(values: Values) -> dict[str, Object]:
    """The templates of the Ray pods alone."""
    return {"head": cluster(values)["headGroupSpec"]["template"]} | {
        name: group["template"] for name, group in groups(values).items()
    }


def container(template: Object) -> Object:
    """The first container."""
    first: Object = template["spec"]["containers"][0]
    return first


def environment(template: Object) -> dict[str, Object]:
    """The first container's variables by name."""
    return {variable["name"]: variable for variable in container(template)["env"]}
