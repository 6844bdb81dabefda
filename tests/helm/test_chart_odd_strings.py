"""A string stays that string wherever the chart writes it, even where YAML would read a number or more."""

import functools
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # published without types
import pytest
import yaml
from chart import CHART, Object, merged, objects, values_of
from helm_python import Chart
from manifests import check

PLAIN = "plain"
NAMES = ["123", "1e3", "true", "null"]
"""What most names may be; YAML makes numbers, booleans and nothing of them."""

TEXTS = ["a: b #c", 'it\'s "x"', "{{ x }}", "- x", "%x", "*x", "back\\slash"]
"""What only free text may be."""

TIED = {
    "accelerator",
    "target",
    "drafter",
    "pool",
    "host",
    "urls",
    "nodes",
    "master",
    "apiVersion",
    "cidr",
    "operator",
    "job",
    "effect",
}
"""Fields that must agree with another value, or whose content is Kubernetes' or a server's own."""

OPEN = {"settings", "resources", "document", "networkPolicy", "podSecurityContext", "securityContext", "extraObjects"}
"""Parts that are written as they are given."""

EVERYTHING: Object = {
    "redis": {"external": {"username": "x", "sentinel": {"passwordKey": "x"}}},
    "auth": {"existingSecret": "keys", "redisKeys": False},
    "hub": {"cacheClaim": "x", "existingSecret": "x"},
    "metrics": {"routers": {"authorization": {"name": "x", "key": "x"}}, "prometheusRule": {"labels": {"a": "x"}}},
    "accelerators": {"h100": {"runtimeClassName": "x", "env": [{"name": "A", "value": "x"}]}},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "x"}], "hostnames": ["x"]},
    "podAnnotations": {"a": "x"},
    "commonAnnotations": {"a": "x"},
}
BUILTIN: Object = {
    "redis": {"existingSecret": "x", "builtin": {"priorityClassName": "x", "storage": {"className": "x"}}},
    "models": {"w": {"pvc": {"claimName": "x", "subPath": "x"}}},
    "pools": [{"name": "v", "model": "m", "target": "/models/w/x", "accelerator": "cpu"}],
    "serviceAccount": {"create": False, "name": "x"},
    "policy": {"existingConfigMap": "x"},
}


def _whole(name: str, over: Object) -> Object:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return merged(merged(defaults, values_of(name)), over)


BASES: dict[str, Callable[[], Object]] = {
    "production": lambda: _whole("production", EVERYTHING),
    "builtin": lambda: _whole("default", BUILTIN),
    "elsewhere": lambda: _whole("external-engines", {"redis": {"external": {"tls": {"enabled": True}}}}),
}


@functools.cache
def _schema() -> Any:
    return jsonschema.Draft202012Validator(json.loads((CHART / "values.schema.json").read_text()))


def _places(part: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of the strings that may be replaced."""
    if isinstance(part, str):
        yield path
        return
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, inner in items:
        if key not in TIED | OPEN:
            yield from _places(inner, (*path, key))


def _put(values: Object, path: tuple[str | int, ...], text: str) -> Object:
    changed = deepcopy(values)
    part: Any = changed
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = text
    return changed


@functools.cache
def _replaced(base: str, odd: str) -> tuple[Object, Object, int]:
    """The values with the odd string, and with a plain one, in every place whose schema takes it; how many."""
    strange = plain = BASES[base]()
    count = 0
    for path in list(_places(strange)):
        if path[-1] == "model" or (path[0] == "pools" and path[2:] == ("name",)):
            continue  # NOTES and the checks of pools tie them together
        pair = _put(strange, path, odd), _put(plain, path, PLAIN)
        if all(_schema().is_valid(candidate) for candidate in pair):
            strange, plain, count = *pair, count + 1
    return strange, plain, count


def _with(part: Any, odd: str) -> Any:
    """What was rendered with the plain string, with the odd one in its place."""
    if isinstance(part, str):
        return part.replace(PLAIN, odd)
    if isinstance(part, list):
        return [_with(item, odd) for item in part]
    if isinstance(part, dict):
        return {_with(key, odd): _with(value, odd) for key, value in part.items()}
    return part


def _read(rendered: list[Object]) -> list[Object]:
    """Copies of them, with the text for Serve as what it says."""
    read = deepcopy(rendered)
    for document in read:
        if document["kind"] == "RayService":
            document["spec"]["serveConfigV2"] = yaml.safe_load(document["spec"]["serveConfigV2"])
    return read


def _sorted(documents: list[Object]) -> list[Object]:
    return sorted(documents, key=lambda o: (o["kind"], str(o["metadata"]["name"])))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("odd", [*NAMES, *TEXTS])
def test_strings_stay_what_they_are(base: str, odd: str) -> None:
    """The same objects come out as with a plain string, but for that string."""
    strange, plain, count = _replaced(base, odd)
    assert count >= (20 if odd in NAMES else 3)
    assert _sorted(_read(objects(strange))) == _sorted(_with(_read(objects(plain)), odd))


@pytest.mark.parametrize("odd", ["123", "1e3"])
def test_a_release_may_have_any_name(odd: str) -> None:
    """Kubernetes takes numbers for releases and namespaces."""
    rendered = Chart.load(CHART).render(values={"fullnameOverride": odd}, name=odd, namespace=odd)
    for path, text in rendered.items():
        for document in yaml.safe_load_all(text) if path.endswith(".yaml") else ():
            if document:
                assert document["metadata"]["namespace"] == odd
                assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == odd
                check(document)


def test_a_prefix_of_redis_may_look_like_a_number() -> None:
    """An environment variable is a string, or Kubernetes refuses the pod."""
    for odd in ("yes", "123", "1e3"):
        for document in objects({"redis": {"prefix": odd}}):
            check(document)
